/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where a guest version keeps what the monitor reads. */
#ifndef UMBRA_PROFILE_H
#define UMBRA_PROFILE_H

struct umbra_profile {
    uint32_t number;             /* UMBRA_PROFILE_* of the watch argument */
    uint32_t kernel_base;        /* first address that is not the process's own */
    uint32_t gdt_kpcr, gdt_teb;  /* GDT entries whose bases are KPCR and TEB */
    uint32_t pcr_thread;         /* KPCR: current KTHREAD */
    uint32_t thread_attached;    /* KTHREAD.ApcState.Process: whose address space */
    uint32_t thread_process;     /* KTHREAD.Process: whose thread */
    uint32_t thread_cid;         /* ETHREAD.Cid: process and thread numbers */
    uint32_t process_cr3;        /* KPROCESS.DirectoryTableBase */
    uint32_t process_created;    /* EPROCESS.CreateTime */
    uint32_t process_exited;     /* EPROCESS.ExitTime */
    uint32_t process_pid;        /* EPROCESS.UniqueProcessId */
    uint32_t process_links;      /* EPROCESS.ActiveProcessLinks */
    uint32_t process_parent;     /* EPROCESS.InheritedFromUniqueProcessId */
    uint32_t process_name;       /* EPROCESS.ImageFileName, 15 bytes */
    uint32_t process_peb;        /* EPROCESS.Peb */
    uint32_t process_flags;      /* EPROCESS.Flags */
    uint32_t flag_exiting;       /* its bit ProcessExiting */
    uint32_t process_vads;       /* EPROCESS.VadRoot: an MMADDRESS_NODE whose right child is the root */
    uint32_t vad_left, vad_right, vad_start, vad_end; /* MMADDRESS_NODE; start and end are page numbers */
    uint32_t peb_image;          /* PEB.ImageBaseAddress */
    uint32_t peb_parameters;     /* PEB.ProcessParameters */
    uint32_t parameters_flags;   /* RTL_USER_PROCESS_PARAMETERS.Flags; bit 0: pointers are absolute */
    uint32_t parameters_image;   /* .ImagePathName, a UNICODE_STRING */
    uint32_t parameters_command; /* .CommandLine, a UNICODE_STRING */
};

extern const struct umbra_profile umbra_profile_win7;

#endif
