// SPDX-License-Identifier: Apache-2.0
/**
 * The hypercall ABI between dom0 and the monitor, said once. From the table of structs below come both the
 * TypeScript codec (this file) and the C header `monitor/umbra_abi.h` (written by `abi_header.ts`).
 *
 * Little-endian; every field is naturally aligned and the tables leave no hidden padding. Addresses of buffers
 * are 64 bits wide, as Xen's guest handles are on x86.
 *
 * @module
 */

/** Version of everything in this file. Raised with each change that an older side would misread. */
export const ABI_VERSION = 2;

/** An unsigned integer of that many bits. */
export type IntegerType = "u8" | "u16" | "u32" | "u64";
/** Type of a field: an integer, or a struct of the table. */
export type FieldType = IntegerType | "rule";

/** One field of a struct: its name (as in C), type, number of elements (1 when absent), and what it means. */
export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly count?: number;
  /** Bytes of text: decoded to a string, cut at the first zero. */
  readonly text?: true;
  readonly note?: string;
}

/** One struct of the ABI. */
export interface Struct {
  /** Name without the prefix `umbra_`. */
  readonly name: string;
  readonly note: string;
  readonly fields: readonly Field[];
}

const field = (type: IntegerType) => (name: string, note?: string): Field => ({ name, type, note });
const u32 = field("u32"), u64 = field("u64");
const array = (type: IntegerType, name: string, count: number, note?: string): Field => ({
  name,
  type,
  count,
  note,
});
const text = (name: string, count: number, note?: string): Field => ({
  name,
  type: "u8",
  count,
  text: true,
  note,
});

/** Commands of the hypercall, by name. */
export const COMMANDS = {
  info: 0,
  watch: 1,
  unwatch: 2,
  fetch: 3,
  process: 4,
  copy: 5,
  acknowledge: 6,
  statistics: 7,
  read: 8,
} as const;

/** Numbers that are part of the ABI. */
export const LIMITS = {
  /** Bytes of a page snapshot. */
  page_size: 4096,
  /** Most snapshots one copy hypercall hands over. */
  copy_pages: 512,
  /** Most events one fetch hypercall hands over. */
  fetch_events: 1024,
  /** Most rules of a watch, and bytes of a pattern with its final zero. */
  rules: 8,
  pattern_bytes: 64,
  name_bytes: 16,
  path_units: 260,
  command_line_units: 512,
  /** The domain that may ask. */
  allowed_domain: 0,
} as const;

/** Event kinds, in the order of their numbers. */
export const EVENT_KINDS = [
  "S1",
  "S2",
  "layer",
  "residue",
  "context",
  "coalesced",
  "process-start",
  "process-end",
] as const;
/** What became of an event's page, in the order of their numbers. */
export const CONTENTS = ["none", "captured", "unchanged", "lost"] as const;
/** Kinds of rule, in the order of their numbers. */
export const RULE_KINDS = ["prefix", "exact", "glob", "pid", "all"] as const;
/** Policies when the data centre is full, in the order of their numbers. */
export const POLICIES = ["pause", "drop"] as const;

/** Bits of flag fields. */
export const FLAGS = {
  event_hop: 1,
  process_partial: 1,
  process_ended: 2,
  statistics_watched: 1,
  statistics_drained: 2,
  statistics_held: 4,
} as const;

/** Errno values the monitor answers with (Xen's public numbers). */
export const ERRORS = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  ENOMEM: 12,
  EFAULT: 14,
  EBUSY: 16,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  ENOSYS: 38,
  EOPNOTSUPP: 95,
} as const;

/** `fetch.after`: go on behind the last event fetched. */
export const FETCH_ON = 0xffff_ffff_ffff_ffffn;

/** The structs. Every hypercall argument begins with the caller's ABI version. */
export const STRUCTS = {
  event: {
    name: "event",
    note: "One event (S, env).",
    fields: [
      u64("sequence", "position in the domain's stream, from 1, without gaps"),
      u64("snapshot", "number of the snapshot; 0 when there is none"),
      u64("va", "page-aligned; 0 for process events"),
      u64("gfn"),
      u64("guest_entry"),
      u64("old_shadow_entry"),
      u64("new_shadow_entry"),
      u64("tsc"),
      u64("allocation_base", "0 when unknown"),
      u64("allocation_size", "bytes"),
      u64("content_hash", "of the 4096 bytes; 0 for process events"),
      u64("hop_from"),
      u64("hop_to"),
      u32("kind", "UMBRA_EVENT_*"),
      u32("content", "UMBRA_CONTENT_*"),
      u32("flags", "UMBRA_FLAG_EVENT_*"),
      u32("domain"),
      u32("vcpu"),
      u32("process", "key; 0 when unknown"),
      u32("pid"),
      u32("tid"),
      u32("error_code"),
      u32("layer"),
      u32("turns"),
      u32("eip"),
      u32("esp"),
      u32("eflags"),
      u32("eax"),
      u32("ecx"),
      u32("edx"),
      u32("ebx"),
      u32("ebp"),
      u32("esi"),
      u32("edi"),
      u32("address_space", "CR3 of a process of which nothing else is known; else 0"),
    ],
  },
  rule: {
    name: "rule",
    note: "Which processes are watched.",
    fields: [
      u32("kind", "UMBRA_RULE_*"),
      u32("pid", "for UMBRA_RULE_PID"),
      text("pattern", LIMITS.pattern_bytes, "UTF-8, ends with a zero"),
    ],
  },
  info: {
    name: "info",
    note: "Argument of info: the monitor fills everything, and answers whatever version asks.",
    fields: [
      u32("abi", "the monitor's version"),
      u32("copy_pages"),
      u32("ring_events", "default of watch"),
      u32("ring_pages", "default of watch"),
      u32("event_size", "bytes"),
      u32("profile", "guest profile built in: 1 Windows 7 SP1 x86 PAE"),
      text("name", 32, "what hosts the monitor"),
    ],
  },
  watch: {
    name: "watch",
    note:
      "Argument of watch. Zero in a setting takes the default. Watching again replaces rules and settings.",
    fields: [
      u32("abi"),
      u32("domain"),
      u32("profile", "0 for the default"),
      u32("policy", "UMBRA_POLICY_*"),
      u32("coalesce_after", "turns"),
      u32("layer_cap", "pages"),
      u32("ring_events"),
      u32("ring_pages"),
      u32("frame_cap", "frames tracked at most"),
      u32("spill_cap", "pages that may wait for room in the ring"),
      u64("coalesce_window", "ticks of the guest's time-stamp counter"),
      u32("virq_events", "a VIRQ at the latest when this many events wait"),
      u32("rules", "how many of the rules below count"),
      { name: "rule", type: "rule", count: LIMITS.rules },
    ],
  },
  unwatch: {
    name: "unwatch",
    note: "Argument of unwatch. What is left to capture is produced as the ring is fetched and acknowledged.",
    fields: [u32("abi"), u32("domain")],
  },
  fetch: {
    name: "fetch",
    note: "Argument of fetch; the result is the number of events written.",
    fields: [
      u32("abi"),
      u32("domain"),
      u64("buffer", "address of the events"),
      u64("after", "events behind this sequence number; all ones: behind the last one fetched"),
      u32("capacity", "events"),
      u32("reserved"),
    ],
  },
  process: {
    name: "process",
    note: "Argument of process: key in, the rest out.",
    fields: [
      u32("abi"),
      u32("domain"),
      u32("key"),
      u32("flags", "UMBRA_FLAG_PROCESS_*"),
      u32("pid"),
      u32("parent_pid"),
      u64("cr3"),
      u64("create_time"),
      u64("object", "address of the guest's process object; 0: nothing but the address space is known"),
      text("name", LIMITS.name_bytes),
      u32("path_units"),
      u32("command_line_units"),
      array("u16", "path", LIMITS.path_units, "UTF-16"),
      array("u16", "command_line", LIMITS.command_line_units, "UTF-16"),
    ],
  },
  copy: {
    name: "copy",
    note:
      "Argument of copy; the result is the number of pages that were there. Places of missing pages stay as they were.",
    fields: [
      u32("abi"),
      u32("domain"),
      u64("snapshots", "address of `count` 64-bit snapshot numbers"),
      u64("buffer", "address of `count` pages"),
      u32("count"),
      u32("reserved"),
      array("u8", "missing", LIMITS.copy_pages / 8, "bit i: snapshot i is gone"),
    ],
  },
  acknowledge: {
    name: "acknowledge",
    note: "Argument of acknowledge: events up to and including this one are freed, snapshots too.",
    fields: [u32("abi"), u32("domain"), u64("sequence")],
  },
  statistics: {
    name: "statistics",
    note: "Argument of statistics: domain in, the rest out.",
    fields: [
      u32("abi"),
      u32("domain"),
      u32("flags", "UMBRA_FLAG_STATISTICS_*"),
      u32("processes", "watched processes that live"),
      u64("events"),
      u64("pages_seen"),
      u64("pages_captured"),
      u64("pages_unchanged"),
      u64("pages_lost"),
      u64("turns_coalesced"),
      u64("vcpu_pauses"),
      u64("faults"),
      u64("faults_passed"),
      u64("events_lost", "events that found no room (their pages are in pages_lost)"),
      u64("frames", "frames tracked"),
      u64("frames_refused", "frames that could not be tracked: table full"),
      u64("processes_refused", "processes that could not be watched: table full"),
      u64("waiting_events", "in the ring, not acknowledged"),
      u64("waiting_pages"),
      u64("spilled_pages", "captured, waiting for room in the ring"),
      u64("last_sequence", "of the newest event"),
      u64("processes_displaced", "address spaces that lived and made room for others: table full"),
    ],
  },
  read: {
    name: "read",
    note:
      "Argument of read: user memory of a watched process that lives, as it is now; the result is the number of bytes up to the first page that is not there.",
    fields: [
      u32("abi"),
      u32("domain"),
      u32("key"),
      u32("address"),
      u64("buffer", "address of `length` bytes"),
      u32("length", "bytes, at most copy_pages pages; 0 asks for the PEB only"),
      u32("peb", "out: address of the process environment block; 0 when unknown"),
    ],
  },
} as const satisfies Record<string, Struct>;

/** Name of a struct of the table. */
export type StructName = keyof typeof STRUCTS;

const SIZES: Record<IntegerType, number> = { u8: 1, u16: 2, u32: 4, u64: 8 };

type FieldOf<S extends StructName> = (typeof STRUCTS)[S]["fields"][number];

/** A field's value: number (bigint for u64), string for text, array for arrays. */
export type Value = number | bigint | string | readonly number[] | readonly Values[];
/** Decoded struct, by field name. */
export interface Values {
  [field: string]: Value;
}

/** A field with its byte offset. */
export interface Placed extends Field {
  readonly offset: number;
}

/** Offsets of all fields, size and alignment of one struct. */
export interface Layout {
  readonly fields: readonly Placed[];
  readonly byName: ReadonlyMap<string, Placed>;
  /** Bytes; a multiple of 8 if there is a 64-bit field, else of 4. */
  readonly size: number;
  readonly align: number;
}

function layout(struct: Struct): Layout {
  let offset = 0, widest = 1;
  const fields = struct.fields.map((each): Placed => {
    const nested = each.type === "rule" ? layout(STRUCTS.rule) : undefined;
    const size = nested ? nested.size : SIZES[each.type as IntegerType], align = nested ? nested.align : size;
    if (offset % align) {
      throw new Error(`Cannot lay out ${struct.name}.${each.name}: offset ${offset} is not ${align}-aligned`);
    }
    widest = Math.max(widest, align);
    const placed = { ...each, offset };
    offset += size * (each.count ?? 1);
    return placed;
  });
  if (offset % widest) {
    throw new Error(`Cannot lay out ${struct.name}: size ${offset} is not ${widest}-aligned`);
  }
  return { fields, byName: new Map(fields.map((each) => [each.name, each])), size: offset, align: widest };
}

/** Layouts of all structs. */
export const LAYOUTS: { readonly [name in StructName]: Layout } = Object.fromEntries(
  Object.entries(STRUCTS).map(([name, struct]) => [name, layout(struct)]),
) as { [name in StructName]: Layout };

/** Size in bytes of a struct. */
export function sizeOf(name: StructName): number {
  return LAYOUTS[name].size;
}

/** Byte offset of a field; throws when the struct has no such field. */
export function offsetOf<S extends StructName>(name: S, fieldName: FieldOf<S>["name"]): number {
  return place(name, fieldName).offset;
}

function place(name: StructName, fieldName: string): Placed {
  const placed = LAYOUTS[name].byName.get(fieldName);
  if (!placed) throw new Error(`Cannot find field "${fieldName}": struct umbra_${name} has no such field`);
  return placed;
}

function put(view: DataView, at: number, type: IntegerType, value: number | bigint): void {
  if (type === "u64") view.setBigUint64(at, BigInt(value), true);
  else if (type === "u32") view.setUint32(at, Number(value), true);
  else if (type === "u16") view.setUint16(at, Number(value), true);
  else view.setUint8(at, Number(value));
}

function get(view: DataView, at: number, type: IntegerType): number | bigint {
  if (type === "u64") return view.getBigUint64(at, true);
  if (type === "u32") return view.getUint32(at, true);
  if (type === "u16") return view.getUint16(at, true);
  return view.getUint8(at);
}

/**
 * Writes a struct at the start of `bytes`; fields not named are zero. Throws when the buffer is too small, a
 * field unknown, or a text or array too long.
 */
export function encode(name: StructName, values: Values, bytes: Uint8Array): void {
  const { size } = LAYOUTS[name];
  if (bytes.length < size) {
    throw new RangeError(`Cannot encode umbra_${name}: ${bytes.length} bytes are fewer than ${size}`);
  }
  bytes.fill(0, 0, size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  for (const [key, value] of Object.entries(values)) {
    const placed = place(name, key), count = placed.count ?? 1;
    if (typeof value === "string") {
      const encoded = new TextEncoder().encode(value);
      if (encoded.length >= count || encoded.includes(0)) {
        throw new RangeError(
          `Cannot encode umbra_${name}.${key} ${JSON.stringify(value)}: ` +
            `more than ${count - 1} bytes of UTF-8, or a zero inside`,
        );
      }
      bytes.set(encoded, placed.offset);
    } else if (typeof value === "object") {
      if (value.length > count) {
        throw new RangeError(
          `Cannot encode umbra_${name}.${key}: ${value.length} elements, room for ${count}`,
        );
      }
      value.forEach((each, i) => {
        if (placed.type === "rule") {
          encode("rule", each as Values, bytes.subarray(placed.offset + i * sizeOf("rule")));
        } else put(view, placed.offset + i * SIZES[placed.type], placed.type, each as number);
      });
    } else if (placed.type !== "rule") put(view, placed.offset, placed.type, value);
  }
}

/** Reads a struct at the start of `bytes`. Throws when the buffer is too small. */
export function decode(name: StructName, bytes: Uint8Array): Values {
  const { size, fields } = LAYOUTS[name];
  if (bytes.length < size) {
    throw new RangeError(`Cannot decode umbra_${name}: ${bytes.length} bytes are fewer than ${size}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  const values: Values = {};
  for (const each of fields) {
    const count = each.count ?? 1;
    const type = each.type;
    if (type === "rule") {
      values[each.name] = Array.from(
        { length: count },
        (_, i) => decode("rule", bytes.subarray(each.offset + i * sizeOf("rule"))),
      );
    } else if (each.text) {
      const raw = bytes.subarray(each.offset, each.offset + count), end = raw.indexOf(0);
      values[each.name] = new TextDecoder().decode(end < 0 ? raw : raw.subarray(0, end));
    } else if (each.count) {
      values[each.name] = Array.from(
        { length: count },
        (_, i) => Number(get(view, each.offset + i * SIZES[type], type)),
      );
    } else values[each.name] = get(view, each.offset, type);
  }
  return values;
}
