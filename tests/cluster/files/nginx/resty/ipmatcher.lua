-- Loaded by the controller's Lua, and used by nothing that a test asks for.
return {
  new = function()
    return nil, "ipmatcher is not in this build"
  end,
}
