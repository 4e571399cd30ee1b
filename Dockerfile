# syntax=docker/dockerfile:1

# The binary: static, so that it needs no libc of the image it runs in.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o /out/sealq ./cmd/sealq
RUN mkdir -p -m 0700 /out/data && cp "$(go env GOROOT)/lib/time/zoneinfo.zip" /out/

# For docker-compose.yml's one-shot service alone: sealq beside a shell, to make
# a key ring only where there is none.
FROM busybox:1.37.0-musl AS init
COPY --from=build /out/sealq /sealq
COPY --from=build --chown=65532:65532 /out/data /var/lib/sealq
USER 65532:65532
ENTRYPOINT ["/bin/sh", "-c"]

# What runs: no shell, no package manager, no root.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/zoneinfo.zip /
ENV ZONEINFO=/zoneinfo.zip
# A health check has to run something inside the container, and sealq's own
# commands do not ask a running server: BusyBox, which under this name is wget.
COPY --from=busybox:1.37.0-musl /bin/busybox /bin/wget
COPY --from=build /out/sealq /sealq
# A volume mounted here starts with this folder's owner and mode.
COPY --from=build --chown=65532:65532 /out/data /var/lib/sealq
USER 65532:65532
ENV SEALQ_LISTEN=:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["/sealq"]
CMD ["serve"]
