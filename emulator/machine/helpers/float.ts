// SPDX-License-Identifier: Apache-2.0
/** x87 control (SDM volume 1, 8.1). @module */
import type { Core } from "../core.ts";
import { GuestFault, Vector } from "../fault.ts";
import type { OpView } from "../op_view.ts";
import type { Helper } from "./helper.ts";

/** Throws #NM when CR0.EM or CR0.TS say that there is no x87. */
const present = (helper: Helper): Helper => (core, op) => {
  if (core.cr0 & 0xc) throw new GuestFault(Vector.nm);
  return helper(core, op);
};

/** Writes the environment: 28 bytes, or 14 with 16-bit operands. */
function storeEnvironment(core: Core, op: OpView): void {
  const f = core.fpu;
  const { size } = op;
  const fields = [f.control, f.status, f.tag, f.ip, f.cs | (size === 4 ? f.opcode << 16 : 0), f.dp, f.ds];
  core.prepareWrite(op.memory(7 * size, true), 7 * size);
  fields.forEach((value, i) => {
    const upper = size === 4 && i !== 3 && i !== 5 && i !== 4 ? 0xffff_0000 : 0;
    core.write(op.memory(size, true, i * size), size, value | upper);
  });
}

const helpers: Record<string, Helper> = {
  fninit: (core) => {
    Object.assign(core.fpu, {
      control: 0x37f,
      status: 0,
      tag: 0xffff,
      ip: 0,
      cs: 0,
      opcode: 0,
      dp: 0,
      ds: 0,
    });
  },
  fnclex: (core) => {
    core.fpu.status &= 0x7f00;
  },
  fldcw: (core, op) => {
    core.fpu.control = (core.read(op.memory(2, false), 2) & 0x1f7f) | 0x40;
  },
  fnstcw: (core, op) => core.write(op.memory(2, true), 2, core.fpu.control),
  fnstsw: (core, op) => {
    if (op.isRegister) core.setReg16(0, core.fpu.status);
    else core.write(op.memory(2, true), 2, core.fpu.status);
  },
  fnstenv: (core, op) => {
    storeEnvironment(core, op);
    // FNSTENV masks all exceptions afterwards.
    core.fpu.control |= 0x3f;
  },
  fnop: () => {},
};

export const floatHelpers: Record<string, Helper> = Object.fromEntries(
  Object.entries(helpers).map(([name, helper]) => [name, present(helper)]),
);
