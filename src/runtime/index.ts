/** runtime: the parts of Node that others build on. Under no pure part. */
export {
  checkCommand,
  COMMAND_ERROR_CODES,
  CommandError,
  type CommandErrorCode,
  type CommandOptions,
  type CommandResult,
  runCommand,
} from './command.ts'
export { createFileOnce, makeFolderDurable, replaceFile, syncFolder } from './durable-file.ts'
export { createLogger, type LogFacts, type Logger, silentLogger } from './logger.ts'
export { identityOf, type ProcessIdentity, processState } from './process-identity.ts'
export { systemClock, systemRandom } from './system.ts'
