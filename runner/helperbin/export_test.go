package helperbin

// Own is the running program as a helper.
var Own = own
