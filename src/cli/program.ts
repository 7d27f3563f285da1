/** The tree of commands. Each command file only declares; what it needs to run is loaded when it runs. */
import { PROGRAM_VERSION } from '#base'
import { Command } from 'commander'
import { alertCommand } from './api/alert.ts'
import { activityCommand } from './api/activity.ts'
import { adviseCommand } from './api/advise.ts'
import { configureCommand } from './api/configure.ts'
import { diskCommand } from './api/disk.ts'
import { groupCommand } from './api/group.ts'
import { machineCommand } from './api/machine.ts'
import { networkCommand } from './api/network.ts'
import { guestCommand } from './api/guest.ts'
import { imageCommand } from './api/image.ts'
import { operationCommand } from './api/operation.ts'
import { protectCommand } from './api/protect.ts'
import { policyCommand } from './api/policy.ts'
import { snapshotCommand } from './api/snapshot.ts'
import { usageCommand } from './api/usage.ts'
import { vaultCommand } from './api/vault.ts'
import { completionCommand } from './completion/completion.ts'
import { backupCommand } from './repo/backup.ts'
import { bootCommand } from './repo/boot.ts'
import { copyCommand } from './repo/copy.ts'
import { filesCommand } from './repo/files.ts'
import { forgetCommand } from './repo/forget.ts'
import { immutabilityCommand } from './repo/immutability.ts'
import { initCommand } from './repo/init.ts'
import { keysCommand } from './repo/keys.ts'
import { listCommand } from './repo/list.ts'
import { mirrorCommand } from './repo/mirror.ts'
import { pruneCommand } from './repo/prune.ts'
import { rebuildIndexCommand } from './repo/rebuild-index.ts'
import { repairCommand } from './repo/repair.ts'
import { restoreCommand } from './repo/restore.ts'
import { restoreCommand as restorePointCommand } from './api/restore.ts'
import { serveCommand } from './repo/serve.ts'
import { showCommand } from './repo/show.ts'
import { statsCommand } from './repo/stats.ts'
import { verifyCommand } from './repo/verify.ts'
import { principalCommand } from './access/principal.ts'
import { roleCommand } from './access/role.ts'
import { hostCommand } from './place/host.ts'
import { regionCommand } from './place/region.ts'
import { poolCommand, storeCommand } from './place/space.ts'
import { catalogCommand } from './server/catalog.ts'
import { clientEnvCommand } from './server/client-env.ts'
import { configCommand } from './server/config.ts'
import { doctorCommand } from './server/doctor.ts'
import { initHomeCommand } from './server/init.ts'
import { jobCommand } from './server/job.ts'
import { recoverCommand } from './server/recover.ts'
import { serveHomeCommand } from './server/serve.ts'
import { statusCommand } from './server/status.ts'
import { stopCommand } from './server/stop.ts'
import { supportBundleCommand } from './server/support-bundle.ts'
import { workerCommand } from './server/worker.ts'

const EXIT_CODES = `
Exit codes:
  0 done   1 damage   2 usage   3 not found   4 key   5 refused   6 outside (later it may work)
  70 a fault of Holdfast   130 cancelled

Environment:
  HOLDFAST_PASSPHRASE, HOLDFAST_PASSPHRASE_FILE, HOLDFAST_KEY_FILE   the key of a repository
  HOLDFAST_HOME   the server's folder
  HOLDFAST_ENDPOINT, HOLDFAST_CA_FILE, HOLDFAST_CLIENT_ID, HOLDFAST_CLIENT_SECRET_FILE   a server elsewhere
  HOLDFAST_GROUP, HOLDFAST_LOCATION   what commands use when none is named`

const REPO_COMMANDS: readonly (() => Command)[] = [
  initCommand,
  backupCommand,
  listCommand,
  showCommand,
  restoreCommand,
  serveCommand,
  bootCommand,
  filesCommand,
  verifyCommand,
  forgetCommand,
  pruneCommand,
  copyCommand,
  repairCommand,
  mirrorCommand,
  statsCommand,
  keysCommand,
  immutabilityCommand,
  rebuildIndexCommand,
]

const SERVER_COMMANDS: readonly (() => Command)[] = [
  initHomeCommand,
  recoverCommand,
  serveHomeCommand,
  stopCommand,
  statusCommand,
  doctorCommand,
  clientEnvCommand,
  configCommand,
  regionCommand,
  hostCommand,
  poolCommand,
  storeCommand,
  principalCommand,
  roleCommand,
  jobCommand,
  catalogCommand,
  supportBundleCommand,
]

/** What they do goes over the API, as `az` would; of a server here or elsewhere. */
const API_COMMANDS: readonly (() => Command)[] = [
  groupCommand,
  machineCommand,
  diskCommand,
  snapshotCommand,
  networkCommand,
  imageCommand,
  guestCommand,
  protectCommand,
  vaultCommand,
  policyCommand,
  restorePointCommand,
  usageCommand,
  alertCommand,
  adviseCommand,
  operationCommand,
  activityCommand,
  configureCommand,
]

export function makeProgram(): Command {
  const program = new Command('holdfast')
    .description('Backup, site recovery, disk snapshots and images for QEMU/KVM hosts.')
    .version(`holdfast ${PROGRAM_VERSION}`, '-V, --version')
    .addHelpText('after', EXIT_CODES)
  program.addCommand(repoCommand())
  for (const command of API_COMMANDS) program.addCommand(command())
  for (const command of SERVER_COMMANDS) program.addCommand(command())
  program.addCommand(completionCommand(program))
  program.addCommand(workerCommand(), { hidden: true })
  quietly(program)
  return program
}

function repoCommand(): Command {
  const repo = new Command('repo')
    .summary('work on a repository directly, without a server')
    .description(
      'Backs machines up into a repository and brings them back. Needs nothing but the repository and its key.',
    )
    .addHelpText('after', '\nExamples:\n  holdfast repo init /srv/backup\n  holdfast repo list /srv/backup')
  for (const command of REPO_COMMANDS) repo.addCommand(command())
  return repo
}

/** Wrong command lines are thrown, not printed: main.ts reports them like every other error. */
function quietly(command: Command): void {
  command.exitOverride()
  command.configureOutput({ outputError: () => undefined })
  for (const child of command.commands) quietly(child)
}
