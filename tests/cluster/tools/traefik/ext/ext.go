// Package ext is where an edition of Traefik adds fields of its own. This one adds none; the module that would say so is in
// Traefik's repository, and no module proxy has it.
package ext

// HTTP adds nothing.
type HTTP struct{}

// DeepCopyInto copies nothing.
func (*HTTP) DeepCopyInto(*HTTP) {}

// Router adds nothing.
type Router struct{}

// DeepCopyInto copies nothing.
func (*Router) DeepCopyInto(*Router) {}
