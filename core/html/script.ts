// SPDX-License-Identifier: Apache-2.0
/** The page's only script: filters the trace. It reads and writes no markup; its hash stands in the policy. */
export const SCRIPT = `
"use strict";
const box = document.getElementById("filter");
if (box) box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("#calls tbody tr")) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
});
`;
