// SPDX-License-Identifier: Apache-2.0
/** iphlpapi.dll: one Ethernet adapter of an ordinary make, its cable unplugged. @module */
import type { ApiCall, DllDefinition } from "../api.ts";
import { define } from "./define.ts";
import names from "./known/iphlpapi.json" with { type: "json" };
import { toAnsi } from "./shared/text.ts";

const NO_DATA = 232;
const BUFFER_OVERFLOW = 111;
const INVALID_PARAMETER = 87;
/** IP_ADAPTER_INFO for x86: its size and the fields that are not zero. */
const Adapter = {
  name: 8,
  description: 268,
  addressLength: 400,
  address: 404,
  index: 412,
  type: 416,
  size: 640,
};
const DHCP_ENABLED = 420;
/** IP_ADDR_STRINGs: addresses, gateways, DHCP server, WINS servers; 4 bytes, then text of address and mask. */
const ADDRESSES = [428, 468, 508, 552, 592];
const IF_TYPE_ETHERNET = 6;
/** Of Dell's range. */
const MAC = [0x00, 0x1e, 0xc9, 0x3b, 0x5a, 0x72];

function adaptersInfo(call: ApiCall, buffer: number, size: number): number {
  if (size === 0) return INVALID_PARAMETER;
  const room = call.memory.u32(size);
  call.memory.setU32(size, Adapter.size);
  if (buffer === 0 || room < Adapter.size) return BUFFER_OVERFLOW;
  const bytes = new Uint8Array(Adapter.size);
  const view = new DataView(bytes.buffer);
  bytes.set(toAnsi("{8A6F2E61-3C44-4D0B-9F1D-6B1D2A7C9E54}"), Adapter.name);
  bytes.set(toAnsi("Intel(R) 82579LM Gigabit Network Connection"), Adapter.description);
  view.setUint32(Adapter.addressLength, MAC.length, true);
  bytes.set(MAC, Adapter.address);
  view.setUint32(Adapter.index, 11, true);
  view.setUint32(Adapter.type, IF_TYPE_ETHERNET, true);
  view.setUint32(DHCP_ENABLED, 1, true);
  for (const at of ADDRESSES) {
    bytes.set(toAnsi("0.0.0.0"), at + 4);
    bytes.set(toAnsi("0.0.0.0"), at + 20);
  }
  call.memory.setBytes(buffer, bytes);
  return 0;
}

export const iphlpapi: DllDefinition = define({
  name: "iphlpapi.dll",
  base: 0x72c00000,
  known: names,
  handlers: [{
    GetAdaptersInfo: adaptersInfo,
    GetAdaptersAddresses: () => NO_DATA,
    GetNumberOfInterfaces: (call, count) => {
      call.memory.setU32(count, 1);
      return 0;
    },
    GetNetworkParams: () => NO_DATA,
    GetIpAddrTable: () => NO_DATA,
    GetTcpTable: () => NO_DATA,
    GetBestInterface: () => 1231,
  }],
});
