/* SPDX-License-Identifier: GPL-2.0-only */
/* The hypercall, for the hardware domain only, and the monitor's start. */
#include <xen/guest_access.h>
#include <xen/hypercall.h>
#include <xen/init.h>
#include <xen/lib.h>
#include <xen/version.h>
#include <asm/paging.h>
#include "umbra_abi.h"
#include "umbra_home.h"
#include "umbra_monitor.h"

/* Why the monitor knows no such domain: it may be there, without the shadow page tables that are watched. */
static long explain(uint64_t argument)
{
    uint32_t head[2];
    struct domain *d;

    if ( raw_copy_from_guest(head, (const void *)argument, sizeof(head)) )
        return -EFAULT;
    d = rcu_lock_domain_by_id(head[1]);
    if ( !d )
        return -ESRCH;
    rcu_unlock_domain(d);
    return -UMBRA_ENODEV;
}

long do_umbra_op(unsigned int command, unsigned long argument)
{
    long rc;

    if ( !is_hardware_domain(current->domain) )
        return -EPERM;
    /* Copying to a caller with page tables of Xen's takes locks that must not be taken inside a paging lock. */
    if ( paging_mode_enabled(current->domain) )
        return -ENOSYS;
    this_cpu(umbra_paused) = command == UMBRA_COMMAND_WATCH || command == UMBRA_COMMAND_UNWATCH ||
                             command == UMBRA_COMMAND_PROCESS;
    this_cpu(umbra_watching) = command == UMBRA_COMMAND_WATCH;
    rc = umbra_hypercall_at(current->domain->domain_id, command, argument);
    this_cpu(umbra_paused) = this_cpu(umbra_watching) = false;
    return rc == -ESRCH && command == UMBRA_COMMAND_WATCH ? explain(argument) : rc;
}

static int __init cf_check umbra_start(void)
{
    static char __initdata name[32];

    snprintf(name, sizeof(name), "Xen %d.%d%s", xen_major_version(), xen_minor_version(),
             xen_extra_version());
    umbra_init(&umbra_xen_ops, name);
    return 0;
}
__initcall(umbra_start);
