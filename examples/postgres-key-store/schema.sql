-- Ids differ in upper and lower case, whatever the collation of the database: "C" compares bytes.
CREATE TABLE access_keys (
  access_key_id text COLLATE "C" PRIMARY KEY,
  subject       text NOT NULL,
  scopes        text[] NOT NULL,
  audiences     text[],                       -- none: all
  status        text NOT NULL CHECK (status IN ('active', 'disabled', 'revoked')),
  not_before    double precision,             -- Unix seconds
  expires_at    double precision,             -- Unix seconds
  sealed_secret bytea NOT NULL                -- good for the rest of its row, as it was when it was sealed
);
