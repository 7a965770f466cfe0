// SPDX-License-Identifier: Apache-2.0
// The generated cases try every instruction of the CPU's table, but for those listed here.
import assert from "node:assert/strict";
import { decode, Instruction, MAX_LENGTH, rows as table } from "../../emulator/isa/mod.ts";
import { makeInstruction } from "./cases.ts";
import { Random } from "./random.ts";
import { rows } from "./rows.ts";
import { makeSequence } from "./vector_cases.ts";

/** Not tried, by reason. The machine's own tests have most of them. */
const NOT_TRIED: Readonly<Record<string, string>> = {
  "no instruction": "(undefined) ud0",
  "the two engines have other descriptor tables":
    "les lds lss lfs lgs call_far jmp_far ret_far iret arpl lar lsl verr verw sldt str smsw sgdt sidt",
  "only for ring 0, or by its leave":
    "insb insw outsb outsw in out cli sti hlt lldt ltr lgdt lidt lmsw invlpg vmcall clts invd wbinvd wrmsr rdmsr rdpmc " +
    "sysexit",
  "the answer is the processor's own": "rdtsc rdtscp cpuid sysenter",
  "they end in another handler": "int icebp",
  "the whole state in memory, in parts the processor's own": "fldenv fnstenv frstor fnsave fxsave fxrstor",
  "nothing to see, or an empty register, which Unicorn does not model":
    "fdecstp fincstp ffree fneni fndisi fnsetpm clflush",
  "Unicorn has them not, or by way of doubles (the host CPU test has them)":
    "f2xm1 fyl2x fptan fpatan fyl2xp1 fsincos fsin fcos fbld fbstp fisttp fstpnce ffreep rcpps rcpss rsqrtps rsqrtss movsldup movshdup movddup lddqu addsubpd addsubps haddpd haddps hsubpd hsubps pshufb phaddw phaddd phaddsw pmaddubsw phsubw phsubd phsubsw psignb psignw psignd pmulhrsw pabsb pabsw pabsd palignr",
};

Deno.test("every instruction of the table is tried, or listed as not", () => {
  const r = new Random(1);
  const tried = new Set<string>();
  const out = new Instruction();
  const see = (bytes: Uint8Array) => {
    const padded = new Uint8Array(bytes.length + MAX_LENGTH);
    padded.set(bytes);
    for (let at = 0; at < bytes.length;) {
      const length = decode(padded, at, padded.length, true, out);
      if (length <= 0) break;
      tried.add(out.row.mnemonic);
      at += length;
    }
  };
  for (let i = 0; i < rows.length * 12; i++) see(makeInstruction(rows[i % rows.length], r).bytes);
  for (const kind of ["x87", "mmx", "sse"] as const) {
    for (let i = 0; i < 8000; i++) see(makeSequence(kind, r, "unicorn").bytes);
  }
  const missing = new Set(table.map(({ mnemonic }) => mnemonic).filter((name) => !tried.has(name)));
  const listed = Object.values(NOT_TRIED).flatMap((names) => names.split(" ")).map((name) =>
    name.replace("_", " ")
  );
  assert.deepEqual([...missing].sort(), listed.sort());
});
