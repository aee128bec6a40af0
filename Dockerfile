# The relay in one image: built on Debian so that the mediasoup worker links against its libraries.
FROM node:22-bookworm AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-progress
COPY scripts scripts
# Takes the prebuilt worker, or builds one; the image serves with werift where neither can be had.
ENV VIREO_CACHE_DIR=/app/cache
RUN node scripts/setup-mediasoup.mjs --install-deps
COPY . .
RUN node scripts/setup.mjs && npm prune --omit=dev --no-progress

FROM node:22-bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends libsrtp2-1 libuv1 libssl3 libusrsctp2 \
    libabsl20220623 libflatbuffers2 tini \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=build --chown=node:node /app/package.json /app/LICENSE ./
COPY --from=build --chown=node:node /app/node_modules node_modules
COPY --from=build --chown=node:node /app/bin bin
COPY --from=build --chown=node:node /app/dist dist
COPY --from=build --chown=node:node /app/models models
COPY --from=build --chown=node:node /app/web-client/dist web-client/dist
COPY --from=build --chown=node:node /app/cache cache
ENV NODE_ENV=production VIREO_CACHE_DIR=/app/cache
USER node
EXPOSE 3000/tcp 40000/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:'+(process.env.VIREO_HTTP_PORT??3000)+'/readyz').then((r)=>process.exit(r.ok?0:1),()=>process.exit(1))"]
# tini passes SIGTERM on, so that `docker stop` drains the relay.
ENTRYPOINT ["tini", "--", "node", "bin/vireo.js"]
CMD ["serve"]
