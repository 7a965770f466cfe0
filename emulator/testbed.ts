// SPDX-License-Identifier: Apache-2.0
/**
 * The test bed: a model of Xen with the monitor in it, a Windows guest on top, and dom0's bridge to it.
 *
 * @module
 */
import { InputError } from "../core/ports.ts";
import type {
  Emulation,
  EmulationEnd,
  EmulationOptions,
  Emulator,
  Hypervisor,
  MissingFunction,
  TracedCall,
  WatchRule,
} from "../core/ports.ts";
import { Bridge } from "../xen/bridge.ts";
import { createXenModel, machineFramesFor } from "./hypervisor/mod.ts";
import type { XenModel } from "./hypervisor/mod.ts";
import { dlls } from "./windows/dll/mod.ts";
import { WindowsGuest } from "./windows/mod.ts";

/** Guest memory in MiB: default, least and most. */
const MEMORY = { default: 128, least: 32, most: 1024 } as const;
const FRAMES_PER_MIB = 256;
/** Longest file name that is given to the guest. */
const MAX_NAME = 64;

/** The emulator behind the port of the core. */
export const testbed: Emulator = {
  load(sample, options) {
    const memory = options.memory ?? MEMORY.default;
    if (!Number.isInteger(memory) || memory < MEMORY.least || memory > MEMORY.most) {
      throw new InputError(
        `Cannot give the guest ${memory} MiB of memory: ${MEMORY.least} to ${MEMORY.most} are possible`,
      );
    }
    const guestFrames = memory * FRAMES_PER_MIB;
    const xen = createXenModel({ frames: machineFramesFor(guestFrames) });
    const domain = xen.createDomain({ guestFrames });
    const guest = new WindowsGuest(domain, { dlls, settings: options.settings });
    const name = guestFileName(sample.name);
    const pid = guest.addProcess({ name, bytes: sample.bytes, args: options.args });
    for (const { name, bytes } of options.company ?? []) {
      guest.addProcess({ name: guestFileName(name), bytes, args: [], beside: true });
    }
    return new TestbedEmulation(xen, domain.id, guest, pid, options);
  },
};

/** A file name for the guest: the last part of a path, without what Windows forbids. */
function guestFileName(name: string): string {
  const base = name.slice(Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1);
  // deno-lint-ignore no-control-regex
  const clean = base.replace(/[\x00-\x1f<>:"|?*\x7f-\uffff]/g, "_").replace(/^[. ]+|[. ]+$/g, "");
  const short = clean.length > MAX_NAME ? clean.slice(0, MAX_NAME - 4) : clean;
  return /\.(exe|scr|com)$/i.test(short) ? short : `${short || "sample"}.exe`;
}

class TestbedEmulation implements Emulation {
  readonly hypervisor: Hypervisor;
  readonly rules: readonly WatchRule[];
  private ended: EmulationEnd | undefined;

  constructor(
    private readonly xen: XenModel,
    readonly domain: number,
    private readonly guest: WindowsGuest,
    pid: number,
    private readonly options: EmulationOptions,
  ) {
    this.hypervisor = new Bridge(xen.transport);
    this.rules = [{ kind: "pid", pattern: String(pid) }];
  }

  get instructions(): number {
    return this.guest.instructions;
  }

  step(slice: number): EmulationEnd | undefined {
    if (this.ended) return this.ended;
    const left = this.options.maxInstructions - this.guest.instructions;
    const { end } = this.guest.run(Math.max(Math.min(slice, left), 0), () => this.xen.virqPending);
    this.ended = end;
    if (this.xen.virqPending) this.xen.deliverVirq();
    if (!end && this.guest.instructions >= this.options.maxInstructions) {
      const { instructions } = this.guest;
      this.ended = { reason: "budget", detail: `${this.options.maxInstructions} instructions`, instructions };
    }
    return this.ended;
  }

  missing(): readonly MissingFunction[] {
    return this.guest.missing();
  }

  calls(): { readonly calls: readonly TracedCall[]; readonly made: number } {
    return this.guest.calls();
  }

  close(): void {
    this.hypervisor.close();
    this.xen.destroyDomain(this.domain);
  }
}
