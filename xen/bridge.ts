// SPDX-License-Identifier: Apache-2.0
/**
 * The Hypervisor port over any transport of hypercalls: the same bytes reach the monitor in a real Xen and in
 * the test bed.
 *
 * @module
 */
import type {
  DomainStatistics,
  Hypervisor,
  HypervisorInfo,
  MonitorEvent,
  ProcessIdentity,
  ProcessMemory,
  WatchRule,
  WatchSettings,
} from "../core/ports.ts";
import {
  ABI_VERSION,
  COMMANDS,
  CONTENTS,
  decode,
  encode,
  ERRORS,
  EVENT_KINDS,
  FETCH_ON,
  FLAGS,
  LIMITS,
  offsetOf,
  POLICIES,
  RULE_KINDS,
  sizeOf,
  type StructName,
  type Value,
  type Values,
} from "./abi.ts";
import type { HypercallBuffer, HypercallTransport } from "./transport.ts";

/** What a bridge may be told beyond the port's settings. Zero or absent takes the monitor's default. */
export interface BridgeOptions {
  /** Events and snapshots the data centre holds per domain. */
  readonly ringEvents?: number;
  readonly ringPages?: number;
  /** Frames the monitor tracks at most, and pages that may wait for room in the ring, per domain. */
  readonly frameCap?: number;
  readonly spillCap?: number;
  /** A VIRQ comes at the latest when this many events wait. */
  readonly virqEvents?: number;
}

/** A hypercall that was refused: what was tried, on what, and why. */
export class HypercallError extends Error {
  override name = "HypercallError";
  /** @param errno Positive Xen error number. */
  constructor(message: string, readonly errno: number) {
    super(message);
  }
}

const REASONS: Readonly<Record<number, string>> = {
  [ERRORS.EPERM]: "this domain is not allowed to ask the monitor",
  [ERRORS.ENOENT]: "it is not watched, or the monitor has forgotten it",
  [ERRORS.ESRCH]: "there is no such domain",
  [ERRORS.ENOMEM]: "the hypervisor has no memory left for it",
  [ERRORS.EFAULT]: "the monitor cannot reach the buffer",
  [ERRORS.EBUSY]: "the last watch has events left: fetch and acknowledge them first",
  [ERRORS.ENODEV]:
    "it has no shadow page tables, in which umbra watches: it must be an HVM or PVH guest whose configuration " +
    'says "hap = 0"',
  [ERRORS.EINVAL]: "the monitor refuses a value of the argument",
  [ERRORS.ENOSYS]: "the hypervisor has no such hypercall (is it built with the monitor?)",
};

const PAGE = LIMITS.page_size;
const EVENT_SIZE = sizeOf("event");
const ARGUMENT_BYTES = Math.max(...(["info", "watch", "process", "copy", "statistics"] as const).map(sizeOf));

/** {@link Hypervisor} over a {@link HypercallTransport}; owns three buffers and releases them on close. */
export class Bridge implements Hypervisor {
  readonly #transport: HypercallTransport;
  readonly #options: BridgeOptions;
  readonly #argument: HypercallBuffer;
  readonly #events: HypercallBuffer;
  readonly #pages: HypercallBuffer;
  readonly #info: HypervisorInfo;
  /** Domains whose unacknowledged events were asked for once, from the oldest. */
  readonly #resumed = new Set<number>();

  /** Throws when the monitor speaks another version, naming both, or cannot be reached. */
  constructor(transport: HypercallTransport, options: BridgeOptions = {}) {
    this.#transport = transport;
    this.#options = options;
    this.#argument = transport.allocate(ARGUMENT_BYTES);
    try {
      this.#info = this.#askInfo();
    } catch (error) {
      this.#argument.release();
      throw error;
    }
    this.#events = transport.allocate(LIMITS.fetch_events * EVENT_SIZE);
    // The snapshots' numbers stand behind the pages.
    this.#pages = transport.allocate(LIMITS.copy_pages * (PAGE + 8));
  }

  info(): HypervisorInfo {
    return this.#info;
  }

  watch(domain: number, rules: readonly WatchRule[], settings: WatchSettings = {}): void {
    const action = `watch domain ${domain}`;
    if (rules.length === 0 || rules.length > LIMITS.rules) {
      throw new RangeError(
        `Cannot ${action}: ${rules.length} rules given, 1 to ${LIMITS.rules} are possible`,
      );
    }
    this.#call("watch", action, {
      domain,
      policy: POLICIES.indexOf(settings.whenFull ?? "pause"),
      coalesce_after: settings.coalesceAfter ?? 0,
      layer_cap: settings.layerCap ?? 0,
      ring_events: this.#options.ringEvents ?? 0,
      ring_pages: this.#options.ringPages ?? 0,
      frame_cap: this.#options.frameCap ?? 0,
      spill_cap: this.#options.spillCap ?? 0,
      coalesce_window: settings.coalesceWindow ?? 0n,
      virq_events: this.#options.virqEvents ?? 0,
      rules: rules.length,
      rule: rules.map((rule) => encodedRule(rule, action)),
    });
  }

  /**
   * Ends the watch. What was written and never captured then comes as `residue` events: all of it is there
   * when {@link fetch} returns nothing, provided that events are acknowledged as they are fetched (the data
   * centre's room bounds what can wait).
   */
  unwatch(domain: number): void {
    this.#call("unwatch", `end the watch of domain ${domain}`, { domain });
  }

  fetch(domain: number, max: number): MonitorEvent[] {
    const events: MonitorEvent[] = [];
    while (events.length < max) {
      const capacity = Math.min(max - events.length, LIMITS.fetch_events);
      const count = this.#call("fetch", `fetch events of domain ${domain}`, {
        domain,
        buffer: this.#events.address,
        after: this.#resumed.has(domain) ? FETCH_ON : 0n,
        capacity,
      });
      // A service that starts again gets what its predecessor did not acknowledge.
      this.#resumed.add(domain);
      if (count > capacity) {
        throw new HypercallError(
          `Cannot fetch events of domain ${domain}: ${count} came, at most ${capacity} were asked for`,
          ERRORS.EINVAL,
        );
      }
      for (let i = 0; i < count; i++) {
        events.push(decodedEvent(this.#events.bytes.subarray(i * EVENT_SIZE, (i + 1) * EVENT_SIZE)));
      }
      if (count < capacity) break;
    }
    return events;
  }

  process(domain: number, key: number): ProcessIdentity | undefined {
    try {
      this.#call("process", `read process ${key} of domain ${domain}`, { domain, key });
    } catch (error) {
      if (error instanceof HypercallError && error.errno === ERRORS.ENOENT) return undefined;
      throw error;
    }
    const values = decode("process", this.#argument.bytes);
    return {
      key,
      pid: values.pid as number,
      parentPid: values.parent_pid as number,
      cr3: Number(values.cr3),
      name: values.name as string,
      path: utf16(values.path as number[], values.path_units as number),
      commandLine: utf16(values.command_line as number[], values.command_line_units as number),
      partial: ((values.flags as number) & FLAGS.process_partial) !== 0,
      ...values.object === 0n ? { anonymous: true as const } : {},
    };
  }

  copy(
    domain: number,
    snapshots: readonly number[],
    receive: (snapshot: number, bytes: Uint8Array | undefined) => void,
  ): void {
    const numbersAt = LIMITS.copy_pages * PAGE, { bytes, address } = this.#pages;
    const numbers = new DataView(bytes.buffer, bytes.byteOffset + numbersAt, LIMITS.copy_pages * 8);
    for (let from = 0; from < snapshots.length; from += LIMITS.copy_pages) {
      const batch = snapshots.slice(from, from + LIMITS.copy_pages);
      batch.forEach((snapshot, i) => numbers.setBigUint64(i * 8, BigInt(snapshot), true));
      this.#call("copy", `copy ${batch.length} pages of domain ${domain}`, {
        domain,
        snapshots: address + BigInt(numbersAt),
        buffer: address,
        count: batch.length,
      });
      // Taken out before `receive` runs: it may make hypercalls of its own.
      const missingAt = offsetOf("copy", "missing");
      const missing = this.#argument.bytes.slice(missingAt, missingAt + LIMITS.copy_pages / 8);
      batch.forEach((snapshot, i) => {
        const gone = missing[i >> 3] & (1 << (i & 7));
        receive(snapshot, gone ? undefined : bytes.subarray(i * PAGE, (i + 1) * PAGE));
      });
    }
  }

  acknowledge(domain: number, sequence: number): void {
    this.#call("acknowledge", `acknowledge event ${sequence} of domain ${domain}`, {
      domain,
      sequence: BigInt(sequence),
    });
  }

  statistics(domain: number): DomainStatistics {
    const values = this.monitorStatistics(domain);
    const number = (field: string) => Number(values[field]);
    return {
      domain,
      events: number("events"),
      pagesSeen: number("pages_seen"),
      pagesCaptured: number("pages_captured"),
      pagesUnchanged: number("pages_unchanged"),
      pagesLost: number("pages_lost"),
      turnsCoalesced: number("turns_coalesced"),
      vcpuPauses: number("vcpu_pauses"),
      faults: number("faults"),
      faultsPassed: number("faults_passed"),
      processesRefused: number("processes_refused"),
      processesDisplaced: number("processes_displaced"),
    };
  }

  /** Every counter of the monitor, by its name in the ABI; among them what could not be tracked. */
  monitorStatistics(domain: number): Values {
    this.#call("statistics", `read the statistics of domain ${domain}`, { domain });
    return decode("statistics", this.#argument.bytes);
  }

  memory(domain: number, key: number): ProcessMemory | undefined {
    if (this.#read(domain, key, 0, 0) === undefined) return undefined;
    return {
      peb: decode("read", this.#argument.bytes).peb as number,
      read: (address, length) => {
        const most = Math.min(length, LIMITS.copy_pages * PAGE);
        const count = this.#read(domain, key, address, most) ?? 0;
        return this.#pages.bytes.slice(0, Math.min(count, most));
      },
    };
  }

  /** Reads into the page buffer; undefined when the process is gone, or the monitor has no such command. */
  #read(domain: number, key: number, address: number, length: number): number | undefined {
    try {
      const { address: buffer } = this.#pages;
      return this.#call("read", `read process ${key} of domain ${domain}`, {
        domain,
        key,
        address,
        buffer,
        length,
      });
    } catch (error) {
      const gone: readonly number[] = [ERRORS.ENOENT, ERRORS.EINVAL, ERRORS.ENOSYS];
      if (error instanceof HypercallError && gone.includes(error.errno)) return undefined;
      throw error;
    }
  }

  /** True when a watch has ended and everything it left has been produced. */
  drained(domain: number): boolean {
    return ((this.monitorStatistics(domain).flags as number) & FLAGS.statistics_drained) !== 0;
  }

  onVirq(listener: () => void): () => void {
    return this.#transport.onVirq(listener);
  }

  close(): void {
    this.#pages.release();
    this.#events.release();
    this.#argument.release();
    this.#transport.close();
  }

  #askInfo(): HypervisorInfo {
    this.#call("info", "talk to the monitor", {});
    const values = decode("info", this.#argument.bytes);
    if (values.abi !== ABI_VERSION || values.event_size !== EVENT_SIZE) {
      throw new HypercallError(
        `Cannot talk to the monitor in ${this.#transport.name}: it speaks ABI version ${values.abi} ` +
          `(events of ${values.event_size} bytes), umbra speaks version ${ABI_VERSION} (${EVENT_SIZE} bytes)`,
        ERRORS.EOPNOTSUPP,
      );
    }
    return {
      abi: ABI_VERSION,
      name: this.#transport.name,
      copyPages: Math.min(values.copy_pages as number, LIMITS.copy_pages),
      ringEvents: this.#options.ringEvents || values.ring_events as number,
      ringPages: this.#options.ringPages || values.ring_pages as number,
    };
  }

  /** Encodes the argument, calls, and turns an errno into an error that says action and reason. */
  #call(command: keyof typeof COMMANDS, action: string, values: Values): number {
    encode(command satisfies StructName, { abi: ABI_VERSION, ...values }, this.#argument.bytes);
    const result = this.#transport.call(COMMANDS[command], this.#argument.address);
    if (result >= 0) return result;
    const reason = result === -ERRORS.EOPNOTSUPP
      ? `the monitor does not speak ABI version ${ABI_VERSION} (at the start it spoke ${this.#info.abi})`
      : REASONS[-result] ?? "the hypervisor gives no other reason";
    throw new HypercallError(`Cannot ${action}: ${reason} (errno ${-result})`, -result);
  }
}

function encodedRule(rule: WatchRule, action: string): Values {
  const kind = RULE_KINDS.indexOf(rule.kind);
  const values: Record<string, Value> = { kind };
  if (rule.kind === "pid") {
    const pid = Number(rule.pattern);
    if (!/^\d{1,10}$/.test(rule.pattern) || pid > 0xffff_ffff) {
      throw new RangeError(
        `Cannot ${action}: rule pid ${JSON.stringify(rule.pattern)} is not a process number`,
      );
    }
    values.pid = pid;
  } else if (rule.kind !== "all") {
    if (rule.pattern === "") throw new RangeError(`Cannot ${action}: rule ${rule.kind} has an empty pattern`);
    values.pattern = rule.pattern;
  }
  return values;
}

function utf16(units: readonly number[], length: number): string {
  return String.fromCharCode(...units.slice(0, length)).replace(/\0+$/, "").toWellFormed();
}

function decodedEvent(bytes: Uint8Array): MonitorEvent {
  const values = decode("event", bytes);
  const number = (field: string) => Number(values[field]);
  const kind = EVENT_KINDS[number("kind")], content = CONTENTS[number("content")];
  if (!kind || !content) {
    throw new HypercallError(
      `Cannot read event ${values.sequence}: kind ${values.kind} and content ${values.content} are not known`,
      ERRORS.EINVAL,
    );
  }
  return {
    sequence: number("sequence"),
    kind,
    domain: number("domain"),
    vcpu: number("vcpu"),
    process: number("process"),
    pid: number("pid"),
    tid: number("tid"),
    ...values.address_space ? { addressSpace: number("address_space") } : {},
    va: number("va"),
    gfn: number("gfn"),
    guestEntry: values.guest_entry as bigint,
    oldShadowEntry: values.old_shadow_entry as bigint,
    newShadowEntry: values.new_shadow_entry as bigint,
    errorCode: number("error_code"),
    layer: number("layer"),
    hop: (number("flags") & FLAGS.event_hop) !== 0,
    hopFrom: number("hop_from"),
    hopTo: number("hop_to"),
    snapshot: number("snapshot"),
    content,
    turns: number("turns"),
    allocationBase: number("allocation_base"),
    allocationSize: number("allocation_size"),
    eip: number("eip"),
    esp: number("esp"),
    tsc: values.tsc as bigint,
  };
}
