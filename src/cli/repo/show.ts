/** holdfast repo show: one recovery point in full. */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import type { PointRecord } from '#engine/repository'
import { runCommandHandler } from '../command.ts'
import { textTable } from '../text-table.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { isoTime, pointJson, timeText } from './point-json.ts'

export function showCommand(): Command {
  return makeRepoCommand({
    usage: 'show <store> <point>',
    summary: 'one recovery point in full',
    examples: ['holdfast repo show /srv/backup latest', 'holdfast repo show /srv/backup 4f1c --output json'],
  })
    .option('--machine <name>', 'look among the points of this machine only')
    .action((location: string, selector: string, options: RepoOptions & Readonly<{ machine?: string }>) =>
      runCommandHandler(options, (context) =>
        withRepository(location, options, context, async ({ repository }) => {
          const point = repository.findPoint(selector, options.machine)
          const lockedUntilMs = repository.immutability.lockedUntilMs(point.id)
          context.output.result(detailsJson(point, lockedUntilMs), () => detailsText(point, lockedUntilMs))
        }),
      ),
    )
}

function detailsJson(point: PointRecord, lockedUntilMs: number | undefined): unknown {
  const { description, attachments, writer } = point
  return {
    ...pointJson(point, lockedUntilMs),
    attachments: attachments.map(({ name, sizeBytes }) => ({ name, sizeBytes })),
    writer,
    ...(description === undefined ? {} : { description }),
  }
}

const dateFact = (name: string, atMs: number | undefined): [string, string][] =>
  atMs === undefined ? [] : [[name, `${timeText(isoTime(atMs))} UTC`]]

function detailsText(point: PointRecord, lockedUntilMs: number | undefined): string {
  const facts: [string, string][] = [
    ['Point', point.id],
    ['Machine', point.machineUuid === undefined ? point.machine : `${point.machine} (${point.machineUuid})`],
    ['Taken at', `${timeText(point.takenAt)} UTC`],
    ['Consistency', point.consistency],
    ['Mode', point.mode],
    ...(point.parent === undefined ? [] : ([['Parent', point.parent]] as [string, string][])),
    ...dateFact('Expires at', point.expiresAtMs),
    ...dateFact('Locked until', lockedUntilMs),
    ...point.notes.map((note): [string, string] => ['Note', note]),
    ...point.attachments.map(({ name, sizeBytes }): [string, string] => [
      'Attachment',
      `${name}, ${formatBytes(sizeBytes)}`,
    ]),
    ['Written by', point.writer],
  ]
  const disks = point.disks.map((disk) => [
    String(disk.lun),
    disk.format,
    disk.reason === undefined ? disk.mode : `${disk.mode} (${disk.reason})`,
    formatBytes(disk.virtualSizeBytes),
    formatBytes(disk.usedBytes),
    formatBytes(disk.readBytes),
    formatBytes(disk.newBytes),
    formatBytes(disk.storedBytes),
    disk.id,
  ])
  const table = textTable(['LUN', 'FORMAT', 'MODE', 'SIZE', 'USED', 'READ', 'NEW', 'STORED', 'DISK'], disks)
  return `${facts.map(([name, value]) => `${`${name}:`.padEnd(14)}${value}`).join('\n')}\n\n${table}`
}
