// Package server has the tests of listening and accepting: TCP and Unix addresses, socket files and their modes, descriptors
// from outside, shared ports, several loops, and accepts that fail.
package server
