// Package docs holds what is written to the code: the tests that every page's snippets compile, its links lead somewhere, its
// names and tests exist, its figures are those measured, and that what is public is documented.
package docs
