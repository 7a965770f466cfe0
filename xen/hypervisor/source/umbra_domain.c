/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Domains in the monitor's table: who may look at it, and a domain's birth and death. For locks see umbra_home.h.
 */
#include <xen/lib.h>
#include <xen/rwlock.h>
#include <asm/p2m.h>
#include <asm/paging.h>
#include "../mm/mm-locks.h"
#include "umbra_glue.h"
#include "umbra_home.h"
#include "umbra_monitor.h"

static DEFINE_RWLOCK(umbra_domains);
/* The domain whose paging lock the monitor runs under on this CPU. */
static DEFINE_PER_CPU(struct domain *, umbra_domain);

void umbra_enter(struct domain *d)
{
    ASSERT(!d || paging_locked_by_me(d));
    ASSERT(!this_cpu(umbra_domain));
    read_lock(&umbra_domains);
    this_cpu(umbra_domain) = d;
}

void umbra_leave(void)
{
    this_cpu(umbra_domain) = NULL;
    read_unlock(&umbra_domains);
}

struct domain *umbra_entered(void)
{
    return this_cpu(umbra_domain);
}

void umbra_domain_shadowed(struct domain *d)
{
    int rc;

    if ( !is_hvm_domain(d) )
        return;
    write_lock(&umbra_domains);
    rc = umbra_domain_create(d->domain_id);
    write_unlock(&umbra_domains);
    if ( rc )
        printk(XENLOG_WARNING "umbra: cannot keep a record of %pd: error %d\n", d, rc);
}

void umbra_domain_gone(struct domain *d)
{
    paging_lock(d);
    d->arch.paging.shadow.umbra_watched = false;
    write_lock(&umbra_domains);
    umbra_domain_destroy(d->domain_id);
    write_unlock(&umbra_domains);
    paging_unlock(d);
}
