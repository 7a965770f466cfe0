// SPDX-License-Identifier: Apache-2.0
/** oleaut32.dll: BSTR, VARIANT and SAFEARRAY; no type libraries. @module */
import type { DllDefinition } from "../../api.ts";
import { constant, define, type Handlers } from "../define.ts";
import names from "../known/oleaut32.json" with { type: "json" };
import { automationOrdinals } from "../ordinals.ts";
import { text } from "../shared/text.ts";
import { bstrOf, freeBstr } from "./bstr.ts";
import { safeArrays } from "./safe_array.ts";
import { variants } from "./variant.ts";

const E_NOTIMPL = 0x80004001;

const automation: Handlers = {
  SysAllocString: (call, at) => at ? bstrOf(call, at, 2 * text(call, at, true).length) : 0,
  SysAllocStringLen: (call, at, length) => bstrOf(call, at, 2 * length),
  SysAllocStringByteLen: (call, at, length) => bstrOf(call, at, length),
  SysReAllocString: (call, target, at) => {
    const made = bstrOf(call, at, 2 * text(call, at, true).length);
    freeBstr(call, call.memory.u32(target));
    call.memory.setU32(target, made);
    return made ? 1 : 0;
  },
  SysReAllocStringLen: (call, target, at, length) => {
    const made = bstrOf(call, at, 2 * length);
    freeBstr(call, call.memory.u32(target));
    call.memory.setU32(target, made);
    return made ? 1 : 0;
  },
  SysFreeString: freeBstr,
  SysStringLen: (call, at) => at ? call.memory.u32(at - 4) >>> 1 : 0,
  SysStringByteLen: (call, at) => at ? call.memory.u32(at - 4) : 0,
  GetActiveObject: (call, _class, _reserved, result) => {
    call.memory.setU32(result, 0);
    return 0x800401e3;
  },
  LoadTypeLib: () => 0x80029c4a,
  LoadRegTypeLib: () => 0x8002801d,
  GetErrorInfo: (call, _reserved, result) => {
    call.memory.setU32(result, 0);
    return 1;
  },
  SetErrorInfo: () => 0,
  ...constant(E_NOTIMPL, "DispInvoke DispGetIDsOfNames CreateStdDispatch CreateDispTypeInfo CreateErrorInfo"),
  ...constant(E_NOTIMPL, "OleLoadPicture OleLoadPicturePath OleCreatePictureIndirect OleCreateFontIndirect"),
  ...constant(
    E_NOTIMPL,
    "CreateTypeLib CreateTypeLib2 LoadTypeLibEx QueryPathOfRegTypeLib RegisterActiveObject",
  ),
  ...constant(E_NOTIMPL, "OleCreatePropertyFrame DispCallFunc"),
};

/** `oleaut32.dll`: BSTR, VARIANT and SAFEARRAY. */
export const oleaut32: DllDefinition = define({
  name: "oleaut32.dll",
  base: 0x75c00000,
  known: names,
  handlers: [automation, variants, safeArrays],
  ordinals: automationOrdinals,
  refusal: (name) =>
    /^(Var[A-Z]|Ole|Create|Load|Disp|Query|SafeArray(Destroy|Redim|Lock|Unlock|Access|Unaccess|Get[EULV]|Put|Copy|Ptr|Alloc))/
        .test(name)
      ? E_NOTIMPL
      : undefined,
});
