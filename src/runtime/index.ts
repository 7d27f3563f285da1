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
export { DIRECT_ALIGNMENT_BYTES, openDirect, pageAligned, refusesDirect, writeDirect } from './direct-write.ts'
export { createFileOnce, makeFolderDurable, replaceFile, syncFolder } from './durable-file.ts'
export { type Environment, recordPath, usualHome } from './home-folder.ts'
export { createLogger, type LogFacts, type Logger, type LogTarget, silentLogger } from './logger.ts'
export { createRotatingFile, type RotatingFile, type RotationLimits } from './rotating-file.ts'
export { tryProcessLock, type ProcessLock } from './process-lock.ts'
export { RpcClient, type RpcCallOptions } from './rpc/client.ts'
export { RPC_ERROR_CODES, RpcError, type RpcErrorCode } from './rpc/errors.ts'
export { type Hello, MESSAGE_BYTES_MAX, RPC_PROTOCOL } from './rpc/messages.ts'
export {
  answerRpc,
  refuseRpc,
  type RpcAnswers,
  type RpcCall,
  type RpcMethods,
  RpcServer,
  type RpcServerOptions,
} from './rpc/server.ts'
export {
  dial,
  type ListenAddress,
  type RpcAddress,
  type TlsDial,
  type TlsIdentity,
  UNIX_PATH_BYTES_MAX,
} from './rpc/transport.ts'
export { Pace, processPace } from './pace.ts'
export { yieldThisThread } from './priority.ts'
export {
  argumentsOf,
  currentBootId,
  type HostProcess,
  identityOf,
  isAlive,
  type ProcessIdentity,
  processState,
  signalProcess,
} from './process-identity.ts'
export { systemClock, systemRandom } from './system.ts'
