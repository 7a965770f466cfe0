// SPDX-License-Identifier: Apache-2.0
/** winmm.dll: the multimedia clock; no devices. @module */
import type { DllDefinition } from "../api.ts";
import { constant, define } from "./define.ts";
import names from "./known/winmm.json" with { type: "json" };

export const winmm: DllDefinition = define({
  name: "winmm.dll",
  base: 0x73d00000,
  known: names,
  handlers: [
    {
      timeGetTime: (call) => call.clock.tickCount,
      timeGetSystemTime: (call, at) => {
        call.memory.setU32(at, 1);
        call.memory.setU32(at + 4, call.clock.tickCount);
        return 0;
      },
      timeGetDevCaps: (call, at) => {
        call.memory.setU32(at, 1);
        call.memory.setU32(at + 4, 1000000);
        return 0;
      },
      timeSetEvent: () => 1,
    },
    constant(
      0,
      "timeBeginPeriod timeEndPeriod timeKillEvent waveOutGetNumDevs waveInGetNumDevs midiOutGetNumDevs",
    ),
    constant(0, "midiInGetNumDevs mixerGetNumDevs auxGetNumDevs joyGetNumDevs"),
    constant(1, "PlaySoundA PlaySoundW sndPlaySoundA sndPlaySoundW"),
    constant(2, "waveOutOpen waveInOpen midiOutOpen midiInOpen"),
    constant(263, "mciSendStringA mciSendStringW mciSendCommandA mciSendCommandW"),
  ],
});
