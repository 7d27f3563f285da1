/** holdfast job start backup: a recovery point of a running machine, made by the server's worker. */
import { resolve } from 'node:path'
import { Command, Option } from 'commander'
import type { BackupJobInput } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, makeHomeCommand, withControl } from './home-option.ts'
import { startJob } from './job-watch.ts'
import { accessOf, type RepositoryOptions, withRepositoryOptions } from './repository-option.ts'

const CONSISTENCY = { app: 'application', fs: 'filesystem', crash: 'crash' } as const

type StartOptions = HomeOptions &
  RepositoryOptions &
  Readonly<{
    machine: string
    qmp: string
    qga?: string
    consistency?: keyof typeof CONSISTENCY
    strict?: boolean
    wait?: boolean
  }>

export function jobStartCommand(): Command {
  return new Command('start').summary('start a job').description('Starts a job.').addCommand(startBackupCommand())
}

function startBackupCommand(): Command {
  const command = makeHomeCommand({
    usage: 'backup',
    summary: 'back a running machine up',
    description:
      'Starts a job that makes a recovery point of a running QEMU, all its disks at one instant, and prints its id. The job ' +
      'survives the server and the worker: it is gone on with, and no second point is made. Jobs of one machine run one ' +
      'after the other.',
    examples: [
      'holdfast job start backup --store /srv/backup --machine web1 --qmp /run/web1.qmp --passphrase-file /etc/backup.pass',
      'holdfast job start backup --store /srv/backup --machine db1 --qmp /run/db1.qmp --qga /run/db1.qga --wait',
    ],
  })
  return withRepositoryOptions(command)
    .requiredOption('-m, --machine <name>', 'name of the machine; points of one name form its history')
    .requiredOption('--qmp <socket>', 'the monitor of its QEMU')
    .option('--qga <socket>', "the machine's guest agent, which freezes its file systems for the instant")
    .addOption(
      new Option('--consistency <level>', 'what to ask of the guest (default: app with --qga, else crash)').choices(
        Object.keys(CONSISTENCY),
      ),
    )
    .option('--strict', 'fail instead of making a point of lesser consistency')
    .option('--wait', 'follow the job until it is over')
    .action((options: StartOptions) =>
      runCommandHandler(options, async (context) => {
        const input = await backupInput(options)
        await withControl(options, (control) =>
          startJob(control, { job: 'backup', input, key: input.machine }, options.wait === true, context),
        )
      }),
    )
}

async function backupInput(options: StartOptions): Promise<BackupJobInput> {
  const { machine, qmp, qga, consistency, strict = false } = options
  const level = CONSISTENCY[consistency ?? (qga === undefined ? 'crash' : 'app')]
  const agent = qga === undefined ? {} : { agent: resolve(qga) }
  return { ...(await accessOf(options)), machine, qmp: resolve(qmp), ...agent, consistency: level, strict }
}
