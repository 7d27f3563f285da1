/** holdfast protect point: the recovery points of a protected machine. */
import { Command } from 'commander'
import { textTable } from '../text-table.ts'
import { makeApiCommand, runApiCommand, type Shown, type WaitOptions } from './api-command.ts'
import { confirmed, type ConfirmOptions } from './confirm.ts'
import { concludeJob, withJobWaitOption } from './protect-jobs.ts'
import { itemIdOf, machineIdOf, pathOfId, vaultIdOf, type VaultOptions, withVaultOptions } from './protect-names.ts'
import { factLines, sizeCell, textCell, timeCell } from './words.ts'

type PointJson = Readonly<{
  name: string
  properties: Readonly<{
    recoveryPointType: string
    recoveryPointTime: string
    recoveryPointAdditionalInfo?: string
    recoveryPointTierDetails: readonly Readonly<{ type: string; status: string }>[]
    recoveryPointDiskConfiguration: Readonly<{ includedDiskList: readonly Readonly<{ name: string }>[] }>
    recoveryPointProperties: Readonly<{ expiryTime?: string; ruleName?: string; isSoftDeleted?: boolean }>
    holdfast?: Readonly<{ sizeBytes: number; storedBytes: number; mode?: string; keptBy: readonly string[] }>
  }>
}>

function stateOf({ properties }: PointJson): string {
  if (properties.recoveryPointProperties.isSoftDeleted === true) return 'deleted'
  return properties.recoveryPointTierDetails.map(({ type }) => type.replace(/RP$/, '')).join('+')
}

function pointTable(points: readonly PointJson[]): string {
  if (points.length === 0) return 'There is no recovery point yet.'
  const rows = points.map((point) => {
    const { recoveryPointTime, recoveryPointType, recoveryPointProperties, holdfast } = point.properties
    return [
      textCell(point.name),
      timeCell(recoveryPointTime),
      textCell(recoveryPointType),
      stateOf(point),
      (holdfast?.keptBy ?? []).map(textCell).join(', '),
      timeCell(recoveryPointProperties.expiryTime),
      sizeCell(holdfast?.storedBytes),
    ]
  })
  return textTable(['POINT', 'INSTANT (UTC)', 'CONSISTENCY', 'TIERS', 'KEPT BY', 'UNTIL (UTC)', 'STORED'], rows)
}

function pointFacts(point: PointJson): string {
  const { properties } = point
  const { holdfast } = properties
  return factLines([
    ['Point', textCell(point.name)],
    ['Instant (UTC)', timeCell(properties.recoveryPointTime)],
    ['Consistency', textCell(properties.recoveryPointType)],
    ['Notes', textCell(properties.recoveryPointAdditionalInfo)],
    ['Tiers', stateOf(point)],
    ['Disks', properties.recoveryPointDiskConfiguration.includedDiskList.map(({ name }) => textCell(name)).join(', ')],
    ['Read as', textCell(holdfast?.mode)],
    ['Size', sizeCell(holdfast?.sizeBytes)],
    ['Stored', sizeCell(holdfast?.storedBytes)],
    ['Kept by', (holdfast?.keptBy ?? []).map(textCell).join(', ')],
    ['Kept until (UTC)', timeCell(properties.recoveryPointProperties.expiryTime)],
  ])
}

function listCommand(): Command {
  const command = makeApiCommand({
    usage: 'list <machine>',
    summary: 'its recovery points, the newest first',
    examples: ['holdfast protect point list web1 -g web -v vault1'],
  })
  return withVaultOptions(command).action((machine: string, options: VaultOptions) =>
    runApiCommand(options, async (context) => {
      const item = itemIdOf(await vaultIdOf(context, options), await machineIdOf(context, machine, options))
      const points = await context.client.list<PointJson>(`${pathOfId(item)}/recoveryPoints`)
      return { value: points, table: () => pointTable(points) }
    }),
  )
}

function showCommand(): Command {
  const command = makeApiCommand({
    usage: 'show <machine> <point>',
    summary: 'one recovery point',
    examples: ['holdfast protect point show web1 121796064123 -g web -v vault1'],
  })
  return withVaultOptions(command).action((machine: string, point: string, options: VaultOptions) =>
    runApiCommand(options, async (context): Promise<Shown> => {
      const item = itemIdOf(await vaultIdOf(context, options), await machineIdOf(context, machine, options))
      const path = `${pathOfId(item)}/recoveryPoints/${encodeURIComponent(point)}`
      const found = await context.client.get<PointJson>(path)
      return { value: found, table: () => pointFacts(found) }
    }),
  )
}

function deleteCommand(): Command {
  const command = makeApiCommand({
    usage: 'delete <machine> <point>',
    summary: 'deletes one recovery point, where immutability allows; it stays for the days of soft delete',
    examples: ['holdfast protect point delete web1 121796064123 -g web -v vault1 --yes'],
  }).option('-y, --yes', 'do not ask')
  return withVaultOptions(withJobWaitOption(command)).action(
    (machine: string, point: string, options: VaultOptions & WaitOptions & ConfirmOptions) =>
      runApiCommand(options, async (context) => {
        const vaultId = await vaultIdOf(context, options)
        const item = itemIdOf(vaultId, await machineIdOf(context, machine, options))
        await confirmed(options, `Delete the recovery point ${point} of ${machine}?`)
        const path = `${pathOfId(item)}/recoveryPoints/${encodeURIComponent(point)}`
        const answer = await context.client.ask('DELETE', path)
        if (answer.status === 204) return undefined
        return concludeJob(context, options, answer, { vaultId, task: `Deleting ${point}` })
      }),
  )
}

export function protectPointCommand(): Command {
  return new Command('point')
    .summary('recovery points of a protected machine')
    .description('Shows and deletes the recovery points of a protected machine.')
    .addHelpText('after', '\nExamples:\n  holdfast protect point list web1 -g web -v vault1')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(deleteCommand())
}
