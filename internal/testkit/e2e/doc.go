// Package e2e proves from the outside what the README promises: every test
// starts Gatehouse and speaks to it as its users do.
//
// It owns no product code. Files with the build tag real need the components
// that testkit/real starts. What tests share stands in main_test.go, and in
// real_support_test.go what those alone need.
package e2e
