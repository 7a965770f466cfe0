// SPDX-License-Identifier: Apache-2.0
// Everything that `umbra watch` refuses: with exit code 2 and one line that says what was wrong and what to do.
import { ABI_VERSION, COMMANDS, encode, ERRORS, sizeOf } from "../../abi.ts";
import { Bridge } from "../../bridge.ts";
import { PrivcmdTransport } from "../../privcmd.ts";
import type { HypercallTransport } from "../../transport.ts";
import { type Check, must } from "./checks.ts";
import { Guest, Running } from "./guest.ts";

const DEVICES = "/dev/xen", NOBODY = 65534;
const GONE = 4000;

/** `umbra watch` of a domain must be refused so; returns what it said. */
async function refused(domain: number, reason: RegExp, user?: number): Promise<string> {
  const { code, stderr } = await new Deno.Command("umbra", {
    args: ["watch", String(domain), "--no-scan", "--for", "1"],
    ...user === undefined ? {} : { uid: user, gid: user },
  }).output();
  const said = new TextDecoder().decode(stderr).trim();
  must(code === 2, `exit code ${code}: ${said}`);
  must(reason.test(said), `it said: ${said}`);
  must(!said.includes("\n"), `more than one line: ${said}`);
  return said;
}

async function withoutDevices(): Promise<string> {
  await Deno.rename(DEVICES, `${DEVICES}.away`);
  try {
    return await refused(1, /there is no \/dev\/xen\/privcmd: this is not dom0 of a Xen host/);
  } finally {
    await Deno.rename(`${DEVICES}.away`, DEVICES);
  }
}

/** A monitor that speaks another version, as far as the bridge can tell. */
function otherVersion(): string {
  const transport = new PrivcmdTransport();
  let buffer: Uint8Array | undefined;
  const other: HypercallTransport = {
    name: transport.name,
    allocate: (size) => {
      const made = transport.allocate(size);
      buffer ??= made.bytes;
      return made;
    },
    call: (command, argument) => {
      const result = transport.call(command, argument);
      if (command === COMMANDS.info) buffer![0] = ABI_VERSION + 1;
      return result;
    },
    onVirq: (listener) => transport.onVirq(listener),
    close: () => transport.close(),
  };
  const argument = transport.allocate(sizeOf("watch"));
  try {
    encode("watch", { abi: ABI_VERSION + 1, domain: GONE }, argument.bytes);
    for (const command of Object.values(COMMANDS)) {
      if (command === COMMANDS.info) continue;
      const result = transport.call(command, argument.address);
      must(result === -ERRORS.EOPNOTSUPP, `the monitor answers version ${ABI_VERSION + 1} with ${result}`);
    }
    new Bridge(other);
  } catch (error) {
    const said = (error as Error).message;
    const both = new RegExp(`speaks ABI version ${ABI_VERSION + 1} .* umbra speaks version ${ABI_VERSION} `);
    must(both.test(said), said);
    return said;
  } finally {
    argument.release();
    transport.close();
  }
  throw new Error("another version is not refused");
}

async function withoutShadow(): Promise<string> {
  await using guest = await Guest.create("unpacker", "hap=1");
  return await refused(guest.id, /it has no shadow page tables.* "hap = 0"/);
}

async function itself(): Promise<string> {
  const bridge = new Bridge(new PrivcmdTransport());
  try {
    bridge.watch(0, [{ kind: "all", pattern: "" }]);
  } catch (error) {
    const said = (error as Error).message;
    must(/Cannot watch domain 0: it has no shadow page tables/.test(said), said);
    return `${await refused(0, /not a guest's domain number/)} (the hypervisor: ${said})`;
  } finally {
    bridge.close();
  }
  throw new Error("dom0 itself is not refused");
}

/** The domain goes while it is watched: that is no failure. */
async function goneMeanwhile(): Promise<string> {
  await using guest = await Guest.create("unpacker");
  const umbra = new Running("umbra", "watch", String(guest.id), "--no-scan", "--json");
  await umbra.hear("watching domain", 200);
  await guest.destroy();
  const { code, out, err } = await umbra.ended();
  const { end } = JSON.parse(out) as { end: { reason: string; detail: string } };
  must(
    code === 0 && end.detail === "the domain is gone",
    `exit code ${code}, ${JSON.stringify(end)}, ${err}`,
  );
  return `${end.reason}: ${end.detail}`;
}

/** What is refused on a hypervisor without the monitor. */
export const stockChecks: readonly Check[] = [
  { name: "no monitor", run: () => refused(1, /no such hypercall \(is it built with the monitor\?\)/) },
];

/** What is refused, and how it is said. */
export const refusalChecks: readonly Check[] = [
  { name: "no Xen", run: withoutDevices },
  {
    name: "no rights",
    run: () => refused(1, /permission denied for \/dev\/xen\/privcmd: run umbra as root/, NOBODY),
  },
  { name: "another ABI", run: otherVersion },
  { name: "guest without shadow paging", run: withoutShadow },
  { name: "no such domain", run: () => refused(GONE, /Cannot watch domain 4000: there is no such domain/) },
  { name: "domain gone while watched", run: goneMeanwhile },
  { name: "dom0 itself", run: itself },
];
