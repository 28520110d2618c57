package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/console"
	"github.com/gatehouse-ai/gatehouse/internal/devidp"
)

// listeners are open before anything is served, so that a port in use ends the
// start at once.
type listeners struct{ main, ops, idp net.Listener }

func (a *App) listen(context.Context) error {
	var err error
	if a.listeners.main, err = a.listenOn("server.address", a.cfg.Server.Address); err != nil {
		return err
	}
	if a.listeners.ops, err = a.listenOn("ops.address", a.cfg.Ops.Address); err != nil {
		return err
	}
	a.url = a.cfg.Server.URL(a.listeners.main.Addr().String())
	a.opsURL = "http://" + a.listeners.ops.Addr().String()
	if a.opt.Dev {
		return a.listenIDP()
	}
	return nil
}

func (a *App) listenIDP() error {
	var err error
	if a.listeners.idp, err = a.listenOn("dev.address", a.cfg.Dev.Address); err != nil {
		return err
	}
	a.idpURL = "http://" + a.listeners.idp.Addr().String()
	keyFile := ""
	if dir := a.cfg.DataDir(); dir != "" {
		keyFile = filepath.Join(dir, "devidp.key")
	}
	a.idp, err = devidp.New(devidp.Options{Issuer: a.idpURL, KeyFile: keyFile, Users: devUsers(), Clients: devClients(a.url)})
	return err
}

// serve starts the listeners. From here on the process answers.
func (a *App) serve(context.Context) error {
	mux := http.NewServeMux()
	a.health.public(mux)
	models := a.gateway.Handler()
	if !a.cfg.Compat.AuthEnabled {
		models = ownPagesOnly(a.cfg.Server.CORS.Origins, models)
	}
	mux.Handle("/v1/", models)
	mux.Handle("/api/v1/", a.control)
	mux.Handle("/api/v1", a.control) // or the mux would redirect before anybody was asked who they are
	mux.Handle("/sso/", a.sso)
	mux.Handle("/scim/v2", a.scim) // scim.Root, written out for the walk of public routes
	mux.Handle("/scim/v2/", a.scim)
	console.Register(mux)
	main := a.server(front(a.cfg.Server.Hosts(a.listeners.main.Addr().String()), a.cfg.Server.HeaderTimeout, mux))
	if a.cfg.Server.TLS.Cert != "" {
		cert, err := newCertificate(a.cfg.Server.TLS.Cert, a.cfg.Server.TLS.Key)
		if err != nil {
			return err
		}
		main.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get}
	}

	ops := http.NewServeMux()
	a.health.detailed(ops)
	ops.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	if a.cfg.Ops.Pprof {
		ops.HandleFunc("/debug/pprof/", pprof.Index)
		ops.HandleFunc("/debug/pprof/profile", pprof.Profile)
		ops.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	opsServer := a.server(a.opsDoor(ops))

	if a.opt.Dev {
		idp := a.server(a.idp.Handler())
		a.run("development identity provider", idp, a.listeners.idp)
		a.onStop(idp.Shutdown)
	}
	a.run("operator's listener", opsServer, a.listeners.ops)
	a.onStop(opsServer.Shutdown)
	a.run("main listener", main, a.listeners.main)
	a.onStop(func(ctx context.Context) error { return a.drain(ctx, main) })
	a.registerMetrics()
	a.announce()
	return nil
}

// opsDoor asks for a loopback name where the operator's listener is on loopback:
// there any page in a browser on this machine could otherwise read it through a
// name that it rebinds.
func (a *App) opsDoor(ops http.Handler) http.Handler {
	if !settings.IsLoopback(a.cfg.Ops.Address) {
		return ops
	}
	return front([]string{"localhost", "127.0.0.1", "::1"}, a.cfg.Server.HeaderTimeout, ops)
}

// server has no write deadline: a slow answer is not cut. Idle limits between
// bytes are the gateway's.
func (a *App) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: a.cfg.Server.HeaderTimeout, IdleTimeout: a.cfg.Server.IdleTimeout,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}

func (a *App) run(name string, s *http.Server, l net.Listener) {
	go func() {
		var err error
		if s.TLSConfig != nil {
			err = s.ServeTLS(l, "", "")
		} else {
			err = s.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			a.failed <- fmt.Errorf("%s: %w", name, err)
		}
	}()
}

// drain says no at /readyz first, then takes no new requests, and lets the
// running ones finish within server.drainTimeout.
func (a *App) drain(ctx context.Context, main *http.Server) error {
	a.health.draining.Store(true)
	select {
	case <-time.After(a.cfg.Server.DrainDelay):
	case <-ctx.Done():
	}
	a.gateway.Drain()
	limit, cancel := context.WithTimeout(ctx, a.cfg.Server.DrainTimeout)
	defer cancel()
	if err := main.Shutdown(limit); err != nil {
		a.log.Warn("requests were still running after server.drainTimeout and are cut", "running", a.gateway.Running())
		err := main.Close()
		a.awaitCut(ctx)
		return err
	}
	return nil
}

// cutWait is how long calls that were cut may take to end, so that they are
// still recorded.
const cutWait = 2 * time.Second

func (a *App) awaitCut(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cutWait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for a.gateway.Running() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
