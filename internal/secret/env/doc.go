// Package env is the secret backend for {env: NAME}: a variable of the
// Gatehouse process. It owns the reading alone; who may name which variable is
// internal/secret's Allow. internal/app gives it to secret.Cache.
package env
