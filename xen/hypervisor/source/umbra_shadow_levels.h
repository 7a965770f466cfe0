/* SPDX-License-Identifier: GPL-2.0-only */
/* In shadow/multi.h, included once a paging mode. */
int cf_check SHADOW_INTERNAL_NAME(umbra_forget_user_from_l1, GUEST_LEVELS)(struct domain *d, mfn_t sl1mfn,
                                                                           mfn_t unused);
