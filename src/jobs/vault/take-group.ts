/**
 * Backs up a protection group: the machines of one vault that share an instant. Each has a point of its own; all are made, or none.
 *
 * Who is in it, and what each machine is made of, is looked up for each attempt. The disks of all must lie on one host: there is no
 * instant beyond that. A group of which one machine must not be touched (`OnlyCrashConsistent`) is one of crash-consistent points.
 */
import type { ProtectedItem } from '#catalog'
import { JobsError } from '../errors.ts'
import type { StepContext } from '../port.ts'
import {
  BACK_UP_GROUP_TASK,
  type BackUpGroupInput,
  type GroupBackedUp,
  type GroupMember,
} from './back-up-group-task.ts'
import { withItsGroup } from './group-members.ts'
import { type MachineToBackUp, planBackup } from './plan-backup.ts'
import {
  historyOf,
  INSTANT_WAIT_MS,
  lockMsOf,
  openMilestone,
  type ProtectionParts,
  type TakenOf,
  toldOf,
  type VaultBackupInput,
} from './take-machine.ts'
import { vaultRepository } from './vault-repository.ts'
import { findPolicy, vaultRow, vaultSettingsOf } from './vault-rows.ts'

type Planned = Readonly<{ item: ProtectedItem; plan: MachineToBackUp; member: GroupMember; isCrashOnly: boolean }>

async function planOf(parts: ProtectionParts, item: ProtectedItem, input: VaultBackupInput): Promise<Planned> {
  const { catalog, clock } = parts
  const policy = item.policyId === undefined ? undefined : await findPolicy(catalog, item.policyId)
  const settings = vaultSettingsOf(await vaultRow(catalog, item.vaultKey))
  const lockMs = lockMsOf(settings.immutability, policy, input, clock.nowMs())
  const plan = await planBackup(catalog, clock, item)
  const { host: _host, disks: _disks, ...given } = plan
  const member = { ...given, history: historyOf(item.machineId), ...(lockMs !== undefined && { lockMs }) }
  return { item, plan, member, isCrashOnly: policy?.crashConsistentOnly === true }
}

function hostOf(group: string, planned: readonly Planned[]): string | undefined {
  const [first, ...others] = planned.map(({ plan }) => plan.host)
  if (others.every((host) => host === first)) return first
  throw new JobsError(
    'disk_elsewhere',
    `The machines of the group ${group} lie on several hosts: there is no instant of them.`,
    { facts: { group }, hint: 'Keep the machines of a protection group on one host, or take one out of the group.' },
  )
}

/** One attempt: the machines as they are now, at one instant. */
export async function takeGroup(
  parts: ProtectionParts,
  step: StepContext,
  { group, vaultKey, input }: Readonly<{ group: string; vaultKey: string; input: VaultBackupInput }>,
): Promise<readonly TakenOf[]> {
  const planned: Planned[] = []
  for (const item of await withItsGroup(parts.catalog, input.item)) planned.push(await planOf(parts, item, input))
  const host = hostOf(group, planned)
  const { access } = await vaultRepository(parts.repositories, vaultKey, host)
  const asked = planned.some(({ isCrashOnly }) => isCrashOnly) ? 'crash' : 'application'
  const wanted: BackUpGroupInput = {
    ...access,
    group,
    members: planned.map(({ member }) => member),
    consistency: asked,
    waitMs: INSTANT_WAIT_MS,
  }
  const milestone = openMilestone(parts, step)
  const done = (await parts.tasks.run({ ...step, milestone }, BACK_UP_GROUP_TASK, wanted, host)) as GroupBackedUp
  return planned.flatMap(({ item, plan }, i) => {
    const one = done.members[i]
    return one === undefined ? [] : [{ item: item.key, taken: { done: one, asked, ...toldOf(plan) } }]
  })
}
