// SPDX-License-Identifier: Apache-2.0
/**
 * A collector as a process of its own, to be killed: `lab collect DOMAIN FOLDER` watches the exerciser with a data
 * centre of a few pages until SIGTERM. It says `watching` when it does.
 *
 * @module
 */
import { FolderFiles } from "../../../core/capture/files.ts";
import { Service } from "../../../core/service/service.ts";
import { Bridge } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import { EXERCISER, PAGES_ONLY } from "./exerciser.ts";

/** Pages that wait for dom0 at most: so few that the guest is held often. */
export const SMALL = { ringPages: 16, ringEvents: 64 };

/** Runs until SIGTERM. */
export async function collect(domain: number, folder: string): Promise<void> {
  const bridge = new Bridge(new PrivcmdTransport(), SMALL);
  const files = new FolderFiles(folder),
    service = new Service({ hypervisor: bridge, files, limits: PAGES_ONLY });
  let ended = false;
  Deno.addSignalListener("SIGTERM", () => ended = true);
  service.watch(domain, EXERCISER);
  console.error("watching");
  while (!ended) {
    await service.drain();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  service.unwatch(domain);
  await service.drain();
  files.close();
  bridge.close();
}
