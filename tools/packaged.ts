// SPDX-License-Identifier: Apache-2.0
/**
 * First module of the packaged executable: hands the artefacts it carries to `core/assets.ts`, then starts
 * the program.
 *
 * @module
 */
import { provideAsset } from "../core/assets.ts";
import { readArtefacts } from "./artefacts.ts";

// `deno compile` puts the artefacts beside this module; the other kind of executable opens itself as file 9.
const source = Deno.build.standalone ? new URL("./artefacts.bin", import.meta.url) : "/proc/self/fd/9";
for (const [name, bytes] of readArtefacts(source)) provideAsset(name, bytes);
await import("../main.ts");
