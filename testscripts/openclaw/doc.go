// Package openclaw tests the playbooks and modules of OpenClaw with the real package of
// the npm registry on throwaway hosts: go test -tags hosts ./testscripts/openclaw.
package openclaw
