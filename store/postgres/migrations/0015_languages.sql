-- The language that a user's mails are in, a BCP 47 tag such as 'de-AT'; '': the deployment's.
ALTER TABLE pending_users ADD COLUMN language text NOT NULL DEFAULT '' CHECK (length(language) <= 35);
ALTER TABLE users ADD COLUMN language text NOT NULL DEFAULT '' CHECK (length(language) <= 35);
