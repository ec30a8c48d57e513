-- Names of ExternalName Services would be looked up with it. No test has such a Service.
return {
  TYPE_A = 1,
  TYPE_CNAME = 5,
  TYPE_AAAA = 28,
  new = function()
    return nil, "dns.resolver is not in this build"
  end,
}
