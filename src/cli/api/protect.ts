/** holdfast protect: machines that vaults back up. */
import { Command, Option } from 'commander'
import { CliError } from '../errors.ts'
import { textTable } from '../text-table.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type Shown, type WaitOptions } from './api-command.ts'
import { confirmed, type ConfirmOptions } from './confirm.ts'
import { concludeJob, followJob, jobIdOf, oneJob, protectJobCommand, withJobWaitOption } from './protect-jobs.ts'
import {
  itemIdOf,
  machineIdOf,
  pathOfId,
  policyIdOf,
  vaultIdOf,
  type VaultOptions,
  withVaultOptions,
} from './protect-names.ts'
import { protectGroupCommand } from './protect-groups.ts'
import { protectPointCommand } from './protect-points.ts'
import { factLines, textCell, timeCell } from './words.ts'

type ItemJson = Readonly<{
  id: string
  properties: Readonly<{
    friendlyName: string
    virtualMachineId: string
    protectionState: string
    healthStatus?: string
    healthDetails?: readonly Readonly<{ title: string; message: string }>[]
    policyId?: string
    policyName?: string
    lastBackupStatus?: string
    lastRecoveryPoint?: string
    nextBackupTime?: string
    isScheduledForDeferredDelete?: boolean
    deferredDeleteTimeRemaining?: string
    extendedInfo?: Readonly<{ recoveryPointCount?: number; oldestRecoveryPoint?: string }>
    extendedProperties?: Readonly<{
      diskExclusionProperties?: Readonly<{ diskLunList: readonly number[]; isInclusionList: boolean }>
    }>
  }>
}>

const NEW_ITEM_POLICY = 'DefaultPolicy'

type Where = Readonly<{ vaultId: string; machineId: string; path: string }>

async function whereOf(context: ApiContext, machine: string, options: VaultOptions): Promise<Where> {
  const vaultId = await vaultIdOf(context, options)
  const machineId = await machineIdOf(context, machine, options)
  return { vaultId, machineId, path: pathOfId(itemIdOf(vaultId, machineId)) }
}

function stateOf({ properties }: ItemJson): string {
  const { protectionState, isScheduledForDeferredDelete, deferredDeleteTimeRemaining } = properties
  if (isScheduledForDeferredDelete !== true) return textCell(protectionState)
  return `deleted, ${textCell(deferredDeleteTimeRemaining?.split('.', 1)[0])} days left`
}

function itemTable(items: readonly ItemJson[]): string {
  if (items.length === 0) return 'The vault protects nothing yet.'
  const rows = items.map((item) => {
    const { friendlyName, policyName, lastBackupStatus, lastRecoveryPoint, nextBackupTime } = item.properties
    return [
      textCell(friendlyName),
      stateOf(item),
      textCell(policyName),
      textCell(lastBackupStatus),
      timeCell(lastRecoveryPoint),
      timeCell(nextBackupTime),
    ]
  })
  return textTable(['MACHINE', 'STATE', 'POLICY', 'LAST BACKUP', 'LAST POINT (UTC)', 'NEXT (UTC)'], rows)
}

function disksText({ properties }: ItemJson): string {
  const { diskLunList, isInclusionList } = properties.extendedProperties?.diskExclusionProperties ?? {}
  if (diskLunList === undefined) return 'all'
  const luns = diskLunList.length === 0 ? 'none' : `LUN ${diskLunList.join(', ')}`
  return isInclusionList === true ? `the system's, and of the others only ${luns}` : `all but ${luns}`
}

function itemFacts(item: ItemJson): string {
  const { properties } = item
  const [problem] = properties.healthDetails ?? []
  return factLines([
    ['Machine', textCell(properties.virtualMachineId)],
    ['State', stateOf(item)],
    ['Health', textCell(properties.healthStatus)],
    ['Problem', problem === undefined ? '' : `${textCell(problem.title)}: ${textCell(problem.message)}`],
    ['Policy', textCell(properties.policyName)],
    ['Disks', disksText(item)],
    ['Last backup', textCell(properties.lastBackupStatus)],
    ['Newest point (UTC)', timeCell(properties.lastRecoveryPoint)],
    ['Oldest point (UTC)', timeCell(properties.extendedInfo?.oldestRecoveryPoint)],
    ['Points', textCell(properties.extendedInfo?.recoveryPointCount)],
    ['Next backup (UTC)', timeCell(properties.nextBackupTime)],
  ])
}

function oneItem(item: ItemJson): Shown {
  return { value: item, table: () => itemFacts(item) }
}

/** Changes the item, waits for the job, and shows the item as it is then. */
async function changeItem(
  context: ApiContext,
  where: Where,
  properties: Readonly<Record<string, unknown>>,
  task: string,
) {
  const body = {
    properties: {
      protectedItemType: 'Microsoft.Compute/virtualMachines',
      sourceResourceId: where.machineId,
      ...properties,
    },
  }
  const answer = await context.client.ask('PUT', where.path, body)
  await followJob(context, where.vaultId, jobIdOf(answer), task)
  return oneItem(await context.client.get<ItemJson>(where.path))
}

function lunList(text: string): number[] {
  const luns = text.split(',').filter((one) => one.trim() !== '')
  const numbers = luns.map(Number)
  if (numbers.every((lun) => Number.isInteger(lun) && lun >= 0)) return numbers
  throw new CliError('usage_invalid', `"${text}" is no list of LUNs such as 0,2.`)
}

type DiskOptions = Readonly<{ onlyLuns?: string; exceptLuns?: string; allDisks?: boolean }>

/** What of the disks is to be backed up; nothing when nothing was said. */
export function diskWish({ onlyLuns, exceptLuns, allDisks }: DiskOptions): Readonly<Record<string, unknown>> {
  const said = [onlyLuns, exceptLuns, allDisks].filter((one) => one !== undefined)
  if (said.length > 1) throw new CliError('usage_invalid', 'Say one of --only-luns, --except-luns and --all-disks.')
  if (allDisks === true) return { extendedProperties: { diskExclusionProperties: null } }
  const text = onlyLuns ?? exceptLuns
  if (text === undefined) return {}
  const wish = { diskLunList: lunList(text), isInclusionList: onlyLuns !== undefined }
  return { extendedProperties: { diskExclusionProperties: wish } }
}

function withDiskOptions(command: Command): Command {
  return command
    .option('--only-luns <luns>', 'of the data disks only these, as 0,2; "" for none')
    .option('--except-luns <luns>', 'all data disks but these')
    .option('--all-disks', 'all disks again')
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: 'machines that the vault protects',
    examples: ['holdfast protect list -g web -v vault1'],
  })
  return withVaultOptions(command).action((options: VaultOptions) =>
    runApiCommand(options, async (context) => {
      const path = `${pathOfId(await vaultIdOf(context, options))}/backupProtectedItems`
      const items = await context.client.list<ItemJson>(path)
      return { value: items, table: () => itemTable(items) }
    }),
  )
}

function showCommand(): Command {
  const command = makeApiCommand({
    usage: 'show <machine>',
    summary: 'how a machine is protected',
    examples: ['holdfast protect show web1 -g web -v vault1'],
  })
  return withVaultOptions(command).action((machine: string, options: VaultOptions) =>
    runApiCommand(options, async (context) =>
      oneItem(await context.client.get<ItemJson>((await whereOf(context, machine, options)).path)),
    ),
  )
}

type EnableOptions = VaultOptions & DiskOptions & Readonly<{ policy?: string }>

/** The policy that is named, else the one that the item has: nobody loses points for having named another disk. */
async function policyFor({ client }: ApiContext, { vaultId, path }: Where, named: string | undefined): Promise<string> {
  if (named !== undefined) return policyIdOf(vaultId, named)
  const item = await client.find<ItemJson>(path)
  if (item === undefined) return policyIdOf(vaultId, NEW_ITEM_POLICY)
  const { policyId = '' } = item.properties
  if (policyId !== '') return policyId
  throw new CliError('usage_invalid', 'Its protection was stopped: say by which --policy it goes on.', {
    hint: 'See the policies with "holdfast policy list".',
  })
}

function enableCommand(): Command {
  const command = makeApiCommand({
    usage: 'enable <machine>',
    summary: 'protects a machine by a policy of the vault, or changes its policy or disks; resumes what was stopped',
    examples: [
      'holdfast protect enable web1 -g web -v vault1',
      'holdfast protect enable web1 -g web -v vault1 --policy EnhancedPolicy --except-luns 2',
    ],
  }).option('-p, --policy <name>', `a policy of the vault (default: the one it has; at first ${NEW_ITEM_POLICY})`)
  return withVaultOptions(withDiskOptions(command)).action((machine: string, options: EnableOptions) =>
    runApiCommand(options, async (context) => {
      const wish = diskWish(options)
      const where = await whereOf(context, machine, options)
      const properties = { policyId: await policyFor(context, where, options.policy), ...wish }
      return changeItem(context, where, properties, `Protecting ${machine}`)
    }),
  )
}

type StopOptions = VaultOptions & ConfirmOptions & Readonly<{ keep: 'forever' | 'by-policy' | 'nothing' }>

function stopCommand(): Command {
  const command = makeApiCommand({
    usage: 'stop <machine>',
    summary: 'stops backups; keeps the points for ever or by policy, or deletes them',
    description:
      'Stops the backups of a machine. Its points stay for ever, or as long as its policy says; with --keep nothing they are ' +
      'deleted, which can be undone for the days of the vault’s soft delete.',
    examples: [
      'holdfast protect stop web1 -g web -v vault1',
      'holdfast protect stop web1 -g web -v vault1 --keep nothing --yes',
    ],
  })
    .addOption(
      new Option('--keep <what>', 'what becomes of its points')
        .choices(['forever', 'by-policy', 'nothing'])
        .default('forever'),
    )
    .option('-y, --yes', 'do not ask')
  return withVaultOptions(command).action((machine: string, options: StopOptions) =>
    runApiCommand(options, async (context) => {
      const where = await whereOf(context, machine, options)
      const task = `Stopping the protection of ${machine}`
      if (options.keep !== 'nothing') {
        const protectionState = options.keep === 'forever' ? 'ProtectionStopped' : 'BackupsSuspended'
        return changeItem(context, where, { policyId: '', protectionState }, task)
      }
      await confirmed(options, `Stop the protection of ${machine} and delete all of its recovery points?`)
      const answer = await context.client.ask('DELETE', where.path)
      if (answer.status === 204) return undefined
      return oneJob(await followJob(context, where.vaultId, jobIdOf(answer), task))
    }),
  )
}

function undeleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'undelete <machine>',
    summary: 'brings deleted points back; protection stays stopped until "enable"',
    examples: ['holdfast protect undelete web1 -g web -v vault1'],
  })
  return withVaultOptions(command).action((machine: string, options: VaultOptions) =>
    runApiCommand(options, async (context) => {
      const where = await whereOf(context, machine, options)
      return changeItem(context, where, { isRehydrate: true }, `Bringing back ${machine}`)
    }),
  )
}

type NowOptions = VaultOptions & WaitOptions & Readonly<{ keepDays?: string }>

function expiryOf(nowMs: number, keepDays: string | undefined): Readonly<Record<string, unknown>> {
  if (keepDays === undefined) return {}
  const days = Number(keepDays)
  if (!Number.isFinite(days) || days <= 0) throw new CliError('usage_invalid', `"${keepDays}" is no number of days.`)
  return { recoveryPointExpiryTimeInUTC: new globalThis.Date(nowMs + days * 86_400_000).toISOString() }
}

function nowCommand(): Command {
  const command = makeApiCommand({
    usage: 'now <machine>',
    summary: 'backs a machine up now',
    examples: ['holdfast protect now web1 -g web -v vault1 --keep-days 90'],
  }).option('--keep-days <days>', 'how long the point is kept (default: 30)')
  return withVaultOptions(withJobWaitOption(command)).action((machine: string, options: NowOptions) =>
    runApiCommand(options, async (context) => {
      const where = await whereOf(context, machine, options)
      const { client } = context
      const properties = { objectType: 'IaasVMBackupRequest', ...expiryOf(client.clock.nowMs(), options.keepDays) }
      const answer = await client.ask('POST', `${where.path}/backup`, { properties })
      return concludeJob(context, options, answer, { vaultId: where.vaultId, task: `Backing up ${machine}` })
    }),
  )
}

export function protectCommand(): Command {
  return new Command('protect')
    .summary('machines that a vault backs up')
    .description('Protects machines by a vault: what is backed up, when, and what becomes of its recovery points.')
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast protect enable web1 -g web -v vault1\n  holdfast protect now web1 -g web -v vault1',
    )
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(enableCommand())
    .addCommand(stopCommand())
    .addCommand(undeleteCommand())
    .addCommand(nowCommand())
    .addCommand(protectPointCommand())
    .addCommand(protectGroupCommand())
    .addCommand(protectJobCommand())
}
