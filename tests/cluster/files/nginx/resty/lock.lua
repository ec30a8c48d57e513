-- A lock in a shared dictionary, without waiting: it is taken with a timeout of 0.
local _M = {}
local meta = { __index = _M }

function _M.new(_, dictionary, options)
  local shared = ngx.shared[dictionary]
  if not shared then
    return nil, "there is no such dictionary"
  end
  return setmetatable({ shared = shared, seconds = options and options.exptime or 30 }, meta)
end

function _M.lock(self, key)
  local taken, why = self.shared:add(key, true, self.seconds)
  if not taken then
    return nil, why == "exists" and "timeout" or why
  end
  self.key = key
  return 0
end

function _M.unlock(self)
  if not self.key then
    return nil, "unlocked"
  end
  self.shared:delete(self.key)
  self.key = nil
  return 1
end

return _M
