/** holdfast restore: brings recovery points of vaults back: disks, machines, the disks of a machine, files. */
import { Command } from 'commander'
import { resourceIdIn } from '#contract'
import { CliError } from '../errors.ts'
import { type ApiContext, makeApiCommand, runApiCommand, type Shown, type WaitOptions } from './api-command.ts'
import { confirmed, type ConfirmOptions } from './confirm.ts'
import { concludeJob, withJobWaitOption } from './protect-jobs.ts'
import { restoreFilesCommand } from './restore-files.ts'
import { choosePoint, type ChosenPoint, type PointOptions, withPointOptions } from './restore-point.ts'
import { groupIn, idOf, MACHINE_TYPE, nameOf, pathOfGroup } from './targets.ts'

const STORAGE_TYPE = 'Microsoft.Storage/storageAccounts'
const NETWORK_TYPE = 'Microsoft.Network/virtualNetworks'

type RestoreOptions = PointOptions & WaitOptions & Readonly<{ toGroup?: string; storage?: string }>
type DisksOptions = RestoreOptions & Readonly<{ lun?: readonly string[] }>
type MachineOptions = RestoreOptions & Readonly<{ name: string; network: string; subnet: string; instant?: boolean }>

type Wanted = Readonly<Record<string, unknown>>

export function restoreCommand(): Command {
  return new Command('restore')
    .summary('bring recovery points of vaults back')
    .description(
      'Restores disks of a recovery point, a new machine, or the disks of the machine itself; with --instant a machine that runs ' +
        'at once on the vault’s data, which moves in behind it. Files are brought out singly. "holdfast repo restore" does ' +
        'the same without a server.',
    )
    .addHelpText(
      'after',
      '\nExamples:\n  holdfast restore machine web1 -g web -v vault1 --name web1-copy --network net --instant\n' +
        '  holdfast restore files get web1 /osp1/etc/fstab -g web -v vault1',
    )
    .addCommand(disksCommand())
    .addCommand(machineCommand())
    .addCommand(replaceCommand())
    .addCommand(restoreFilesCommand())
}

function withRestoreOptions(command: Command): Command {
  return withJobWaitOption(
    withPointOptions(command)
      .option('--to-group <name>', 'resource group of what is made (default: that of the machine)')
      .option('--storage <account>', 'storage account that gets the template which makes the machine again'),
  )
}

async function begin(
  context: ApiContext,
  options: RestoreOptions,
  point: ChosenPoint,
  wanted: Wanted,
  task: string,
): Promise<Shown> {
  const { storage } = options
  const group = groupIn(point.machineId)
  const properties = {
    objectType: 'IaasVMRestoreRequest',
    recoveryPointId: point.name,
    sourceResourceId: point.machineId,
    region: point.location,
    ...(storage !== undefined && {
      storageAccountId: await idOf(context, storage, STORAGE_TYPE, { ...options, group: options.group ?? group }),
    }),
    ...wanted,
  }
  const answer = await context.client.ask('POST', `${point.path}/restore`, { properties })
  return concludeJob(context, options, answer, { vaultId: point.vaultId, task })
}

function targetGroup(context: ApiContext, options: RestoreOptions, point: ChosenPoint): Promise<string> {
  return pathOfGroup(context, options.toGroup ?? groupIn(point.machineId))
}

function readLuns(luns: readonly string[]): number[] {
  return luns.map((text) => {
    const lun = text === 'os' ? -1 : Number(text)
    if (Number.isSafeInteger(lun) && lun >= -1 && lun <= 63) return lun
    throw new CliError('usage_invalid', `"${text}" is no LUN: 0 to 63, or "os".`)
  })
}

function disksCommand(): Command {
  const command = makeApiCommand({
    usage: 'disks <machine>',
    summary: 'disks of a recovery point as managed disks',
    description:
      'All disks of the point, or with --lun some of them. With --storage also the template that makes the machine again.',
    examples: [
      'holdfast restore disks web1 -g web -v vault1',
      'holdfast restore disks web1 -g web -v vault1 --point 1764500000001 --lun os 2',
    ],
  }).option('--lun <lun...>', 'only these: LUNs, or "os"')
  return withRestoreOptions(command).action((machine: string, options: DisksOptions) =>
    runApiCommand(options, async (context) => {
      const point = await choosePoint(context, machine, options)
      const luns = options.lun === undefined ? undefined : readLuns(options.lun)
      const wanted = {
        recoveryType: 'RestoreDisks',
        targetResourceGroupId: await targetGroup(context, options, point),
        // With -1 in it the list is taken as it is; without, the API adds the operating system’s disk.
        ...(luns !== undefined && { restoreDiskLunList: luns }),
      }
      return begin(context, options, point, wanted, `Restoring disks of ${nameOf(point.machineId)}`)
    }),
  )
}

function machineCommand(): Command {
  const command = makeApiCommand({
    usage: 'machine <machine>',
    summary: 'a new machine of a recovery point',
    description:
      'Makes the machine with new disks and network cards in the subnet. With --instant it runs in seconds on the vault’s data; ' +
      'the job is over when all of it has moved in, and says both moments. If the machine cannot be made its disks stay.',
    examples: [
      'holdfast restore machine web1 -g web -v vault1 --name web1-copy --network net',
      'holdfast restore machine web1 -g web -v vault1 --name web1-now --network net --subnet apps --instant',
    ],
  })
    .requiredOption('--name <name>', 'name of the new machine')
    .requiredOption('--network <name>', 'virtual network, by name in the group or id')
    .option('--subnet <name>', 'subnet of it', 'default')
    .option('--instant', 'run at once; the data moves in behind')
  return withRestoreOptions(command).action((machine: string, options: MachineOptions) =>
    runApiCommand(options, async (context) => {
      const point = await choosePoint(context, machine, options)
      const group = options.toGroup ?? groupIn(point.machineId)
      const within = { ...options, group: options.group ?? group }
      const network = await idOf(context, options.network, NETWORK_TYPE, within)
      const wanted = {
        recoveryType: 'AlternateLocation',
        targetVirtualMachineId: resourceIdIn(await context.client.subscription(), group, MACHINE_TYPE, options.name),
        targetResourceGroupId: await targetGroup(context, options, point),
        virtualNetworkId: network,
        subnetId: `${network}/subnets/${options.subnet}`,
        ...(options.instant === true && { holdfastInstant: true }),
      }
      return begin(context, options, point, wanted, `Restoring ${nameOf(point.machineId)} as ${options.name}`)
    }),
  )
}

function replaceCommand(): Command {
  const command = makeApiCommand({
    usage: 'replace <machine>',
    summary: 'put the machine back to a recovery point',
    description:
      'Stops the machine, keeps a snapshot of each of its disks, and exchanges them for those of the point; the old disks stay, ' +
      'detached. The machine is started again if it ran.',
    examples: ['holdfast restore replace web1 -g web -v vault1 --yes'],
  }).option('-y, --yes', 'do not ask')
  return withRestoreOptions(command).action((machine: string, options: RestoreOptions & ConfirmOptions) =>
    runApiCommand(options, async (context) => {
      const point = await choosePoint(context, machine, options)
      const name = nameOf(point.machineId)
      await confirmed(options, `Stop ${name} and put its disks back to the point ${point.name}?`)
      return begin(context, options, point, { recoveryType: 'OriginalLocation' }, `Putting ${name} back`)
    }),
  )
}
