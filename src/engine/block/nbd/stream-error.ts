/** Translates the end of a stream, in order or by an error of the system or of TLS, into a BlockError. */
import { errnoOf, messageOf } from '#base'
import { BlockError } from '../errors.ts'

const HINT = 'See the log of the NBD server for why it ended, start it again, and run this once more.'

export function streamError(cause: Error | undefined): BlockError {
  if (cause === undefined) {
    return new BlockError('nbd_disconnected', 'The NBD peer closed the connection.', { retry: 'later', hint: HINT })
  }
  const errno = errnoOf(cause)
  if (errno?.startsWith('ERR_SSL_') === true || errno?.startsWith('ERR_TLS_') === true) {
    return new BlockError('nbd_tls_failed', `TLS with the NBD peer failed: ${messageOf(cause)}`, {
      facts: { errno },
      cause,
    })
  }
  const message = `The connection to the NBD peer broke: ${messageOf(cause)}`
  return new BlockError('nbd_disconnected', message, { facts: { errno }, retry: 'later', hint: HINT, cause })
}
