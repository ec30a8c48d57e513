-- Loaded by the controller's Lua, and used by nothing that a test asks for.
return {
  new = function()
    return nil, "http is not in this build"
  end,
}
