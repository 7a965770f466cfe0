// SPDX-License-Identifier: Apache-2.0
import type { Service } from "../../../core/service/service.ts";

/** Milliseconds after which the end is looked for when there is no VIRQ. */
const LOOK = 200;

/**
 * Collects at each VIRQ, as `umbra watch` does, until it is done; throws when it is not after so many seconds.
 *
 * @param what what is waited for, for the error.
 */
export async function follow(
  service: Service,
  what: string,
  seconds: number,
  done: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  let heard = false, wake = () => {};
  service.onVirq(() => {
    heard = true;
    wake();
  });
  while (true) {
    heard = false;
    const late = () => performance.now() > end;
    await service.drain(late);
    if (heard && !late()) continue;
    if (await done()) return;
    if (late()) {
      throw new Error(`Cannot go on: after ${seconds} s there is still no ${what}`);
    }
    if (heard) continue;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LOOK);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
