package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and when a run was made, and how busy the machine was.
func machine() map[string]string {
	m := map[string]string{
		"date": time.Now().UTC().Format("2006-01-02 15:04 MST"), "cores": fmt.Sprint(runtime.NumCPU()), "go": runtime.Version(),
		"cpu": "unknown", "kernel": "unknown", "load": "unknown",
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m["cpu"] = strings.TrimSpace(v)
				break
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m["kernel"] = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m["load"] = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	for _, tool := range [][]string{{"nginx", "-v"}, {"caddy", "version"}} {
		out, err := exec.Command(tool[0], tool[1:]...).CombinedOutput()
		if err == nil {
			v, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "nginx version: nginx/"), " ")
			m[tool[0]] = v
		}
	}
	return m
}
