package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/h1"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/safehttp"
)

// send puts the model's upstream id and the provider's key in place, and
// returns when the answer's header is there. Errors: secret_unavailable,
// upstream_unreachable, upstream_broke, upstream_timeout, why the call was cut,
// and errGone.
func (e *Exchange) send() (*http.Response, error) {
	spec := &e.account.Resource.Spec
	key := ""
	if spec.Credentials.APIKey != nil {
		var err error
		if key, err = e.g.opt.Keys.Key(e.account); err != nil {
			return nil, err
		}
		if key == "" {
			return nil, identity.Errorf(identity.CodeSecretUnavailable, "the provider's key cannot be read at the moment")
		}
	}
	var err error
	if e.target, err = e.g.pool.Target(e.account); err != nil {
		return nil, identity.Wrap(identity.CodeUpstreamUnreachable, err, "the provider cannot be reached; its account needs its manager")
	}
	e.rec.UpstreamModel = e.model.Upstream(e.rec.Model)
	b := e.body
	b.from, b.to, b.model = e.call.Start, e.call.End, e.call.AppendModel(b.model[:0], e.rec.UpstreamModel)
	e.ctx.watch(e.r.Context())
	e.enlist()
	e.sent = time.Since(e.start)
	resp, err := e.roundTrip(spec, key)
	e.answered = time.Since(e.start)
	e.disarm()
	if err != nil {
		return nil, e.upstreamError(err)
	}
	return resp, nil
}

func (e *Exchange) roundTrip(spec *v1.ProviderAccountSpec, key string) (*http.Response, error) {
	wait := e.g.opt.FirstByteTimeout
	if e.target.FirstByte > 0 {
		wait = e.target.FirstByte
	}
	e.arm(phaseWaiting, wait)
	if spec.Provider == v1.ProviderEcho {
		return llm.Echo(&e.ctx, spec.Echo, e.op.endpoint, e.rec.UpstreamModel, e.body.reader())
	}
	template := e.target.Upstream.Request(e.op.endpoint, e.rec.UpstreamModel)
	if template == nil {
		return nil, errors.New("the provider does not have this endpoint")
	}
	out := template.WithContext(&e.ctx)
	out.Header = e.upstreamHeader()
	e.target.Upstream.Authorize(out.Header, key)
	body := e.body
	out.ContentLength = body.length()
	out.Body = body.reader()
	if out.ContentLength > h1.SmallBody {
		// For net/http to try again on a connection that the upstream had
		// closed already. It asks before RoundTrip returns, so the body is held.
		out.GetBody = func() (io.ReadCloser, error) { return body.reader(), nil }
	}
	return e.target.Transport.RoundTrip(out)
}

// upstreamError says why there is no answer, or no more of it.
func (e *Exchange) upstreamError(err error) error {
	if coded, ok := errors.AsType[*identity.Error](e.ctx.why()); ok {
		return coded // we cut it
	}
	if e.r.Context().Err() != nil {
		return errGone
	}
	var op *net.OpError
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var refused *safehttp.Error
	if errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || errors.As(err, &cert) || errors.As(err, &refused) {
		return identity.Wrap(identity.CodeUpstreamUnreachable, err, "the provider cannot be reached")
	}
	return identity.Wrap(identity.CodeUpstreamBroke, err, "the provider broke off")
}
