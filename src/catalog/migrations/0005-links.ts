/** Schema 5: links to the servers of other regions, and the invitations by which they are made. Never edited once released. */
import type { Migration } from './migration.ts'

export const links: Migration = {
  number: 5,
  name: 'links',
  statements: [
    `create table link (
      subscription text primary key not null, endpoint text not null, authority text not null, public_key text not null,
      role text not null, granted text, regions text not null, state text not null, created_ms integer not null,
      seen_ms integer) strict`,
    `create table link_invitation (
      verifier text primary key not null, role text not null, created_ms integer not null, expires_ms integer not null,
      used_by text) strict`,
  ],
}
