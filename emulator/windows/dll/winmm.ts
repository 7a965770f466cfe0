// SPDX-License-Identifier: Apache-2.0
/** winmm.dll: the multimedia clock; no devices. @module */
import type { DllDefinition } from "../api.ts";
import { addTimer, removeItem } from "../thread_pool.ts";
import { constant, define } from "./define.ts";
import names from "./known/winmm.json" with { type: "json" };

/** Flags and an error of the multimedia timers. */
const PERIODIC = 1;
const CALLBACK_EVENT = 0x30;
const TIMERR_NOCANDO = 97;

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
      timeSetEvent: (call, delay, _resolution, callback, user, flags) => {
        // TIME_CALLBACK_EVENT_SET and _PULSE name an event instead of a function.
        if (flags & CALLBACK_EVENT) return 0;
        return addTimer(call, callback, (id) => [id, 0, user, 0, 0], delay, flags & PERIODIC ? delay : 0);
      },
      timeKillEvent: (call, id) => removeItem(call, id) ? 0 : TIMERR_NOCANDO,
    },
    constant(
      0,
      "timeBeginPeriod timeEndPeriod waveOutGetNumDevs waveInGetNumDevs midiOutGetNumDevs",
    ),
    constant(0, "midiInGetNumDevs mixerGetNumDevs auxGetNumDevs joyGetNumDevs"),
    constant(1, "PlaySoundA PlaySoundW sndPlaySoundA sndPlaySoundW"),
    constant(2, "waveOutOpen waveInOpen midiOutOpen midiInOpen"),
    constant(263, "mciSendStringA mciSendStringW mciSendCommandA mciSendCommandW"),
  ],
});
