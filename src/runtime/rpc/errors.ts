/** What talking to another Holdfast process can fail with. One code, one meaning, one entry in docs/errors.md. */
import { HoldfastError } from '#base'

export const RPC_ERROR_CODES = [
  'rpc_unreachable',
  'rpc_closed',
  'rpc_protocol_violation',
  'rpc_message_too_large',
  'rpc_version_unknown',
  'rpc_method_unknown',
  'rpc_busy',
  'rpc_failed',
] as const
export type RpcErrorCode = (typeof RPC_ERROR_CODES)[number]
export class RpcError extends HoldfastError<RpcErrorCode> {}
