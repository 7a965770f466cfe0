/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Windows 7 SP1, x86, PAE kernel. Offsets are facts of that build, as its public symbols tell them.
 */
#include "internal.h"
#include "profile.h"

const struct umbra_profile umbra_profile_win7 = {
    .number = 1,
    .kernel_base = 0x80000000u,
    .gdt_kpcr = 6, .gdt_teb = 7,
    .pcr_thread = 0x124,
    .thread_attached = 0x50, .thread_process = 0x150, .thread_cid = 0x22c,
    .process_cr3 = 0x18,
    .process_created = 0xa0, .process_exited = 0xa8,
    .process_pid = 0xb4, .process_links = 0xb8, .process_parent = 0x140,
    .process_name = 0x16c, .process_peb = 0x1a8,
    .process_flags = 0x270, .flag_exiting = 0x4,
    .process_vads = 0x278,
    .vad_left = 4, .vad_right = 8, .vad_start = 0xc, .vad_end = 0x10,
    .peb_image = 0x8, .peb_parameters = 0x10,
    .parameters_flags = 0x8, .parameters_image = 0x38, .parameters_command = 0x40,
};
