/** Every migration, in order. The last one's number is the schema that this program writes. */
import { inventory } from './0001-inventory.ts'
import { jobs } from './0002-jobs.ts'
import { controlPlane } from './0003-control-plane.ts'
import { hosts } from './0004-hosts.ts'
import { links } from './0005-links.ts'
import { vaults } from './0006-vaults.ts'
import type { Migration } from './migration.ts'

export const MIGRATIONS: readonly Migration[] = [inventory, jobs, controlPlane, hosts, links, vaults]
export const SCHEMA_NUMBER = MIGRATIONS.length
