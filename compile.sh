#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes dist/umbra, one executable that needs nothing beside it. See tools/package.ts.
set -euo pipefail
cd "$(dirname "$0")"
export DENO_TLS_CA_STORE="${DENO_TLS_CA_STORE:-mozilla,system}"
exec npx -y deno@2.9.6 run --lock=deno.lock --frozen --allow-all tools/package.ts
