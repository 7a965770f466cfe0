#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes dist/umbra, one executable that needs nothing beside it. See tools/package.ts.
set -euo pipefail
cd "$(dirname "$0")"
exec npx -y deno@2.9.6 run --allow-all tools/package.ts
