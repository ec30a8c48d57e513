-- Loaded by the controller's Lua, and used by nothing that a test asks for.
return {
  new = function()
    return nil, "global_throttle is not in this build"
  end,
}
