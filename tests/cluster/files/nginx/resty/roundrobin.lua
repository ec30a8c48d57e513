-- In turn over the backends: what lua-resty-balancer does, which Debian does not have. Weights are equal here.
local _M = {}
local meta = { __index = _M }

local function named(nodes)
  local names = {}
  for name in pairs(nodes) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

function _M.new(_, nodes)
  return setmetatable({ nodes = nodes, names = named(nodes), at = 0 }, meta)
end

function _M.reinit(self, nodes)
  self.nodes, self.names, self.at = nodes, named(nodes), 0
end

function _M.find(self)
  if #self.names == 0 then
    return nil
  end
  self.at = self.at % #self.names + 1
  return self.names[self.at]
end

return _M
